//! A service of a compose project. Compose has no scheduler: cron or a timer of the host starts it.

use super::{File, Plan};

pub(super) const NAME: &str = "docker-compose.dbhaul.yaml";

pub(super) fn file(plan: &Plan) -> File {
    let Plan { image, config, at, zone, .. } = plan;
    let folder = config.rsplit_once('/').map_or(".", |(folder, _)| folder);
    let weekly = plan.rehearse.map(|rehearse| {
        format!(
            "# and every {rehearse}:
#   docker compose -f docker-compose.yaml -f {NAME} run --rm dbhaul --quiet nightly --rehearse --wait 4h
"
        )
    });
    let text = format!(
        "# Beside docker-compose.yaml, so that the servers are reached by the names of their services. To be run by the host's
# cron or timer, every night at {at} {zone}:
#   docker compose -f docker-compose.yaml -f {NAME} run --rm dbhaul
{weekly}services:
  dbhaul:
    image: {image}
    # `docker compose up` does not start it.
    profiles: [backup]
    command: [--quiet, nightly]
    environment:
      DBHAUL_CONFIG: /etc/dbhaul/dbhaul.toml
      STATE_DIRECTORY: /var/lib/dbhaul
    volumes:
      - {folder}:/etc/dbhaul:ro
      - dbhaul:/var/lib/dbhaul
    tmpfs: [/tmp]
    read_only: true
    cap_drop: [ALL]
    security_opt: [\"no-new-privileges:true\"]
volumes:
  dbhaul:
",
        weekly = weekly.unwrap_or_default()
    );
    File { path: NAME.to_owned(), text }
}
