//! CronJobs. The configuration is a secret, because it may contain passwords; the run state is on a volume.

use super::{File, Plan};

pub(super) const NAME: &str = "dbhaul.yaml";

pub(super) fn file(plan: &Plan) -> File {
    let mut out = format!(
        "# kubectl -n {ns} create secret generic dbhaul-config --from-file=dbhaul.toml
# Where the configuration takes variables from the environment, such as ${{DB_PASSWORD}}:
# kubectl -n {ns} create secret generic dbhaul-environment --from-env-file=FILE
# The volume keeps the lock, the record of runs, and the repository if its url is /var/lib/dbhaul/backups.
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: dbhaul
  namespace: {ns}
spec:
  accessModes: [ReadWriteOnce]
  resources:
    requests:
      storage: 10Gi
",
        ns = plan.namespace
    );
    let cron = |time: chrono::NaiveTime, day: &str| format!("{} * * {day}", time.format("%-M %-H"));
    out.push_str(&job(plan, "dbhaul-nightly", &cron(plan.at.0, "*"), "[--quiet, nightly]", 4));
    if let Some(rehearse) = plan.rehearse {
        let schedule = cron(rehearse.time, &rehearse.day.num_days_from_sunday().to_string());
        let command = "[--quiet, nightly, --rehearse, --wait, 4h]";
        // A comment in the middle would belong to neither object.
        out.insert_str(
            0,
            "# The image has no server programs: the rehearsal needs a `[[rehearse.sandbox]]` with a `url`, and is incomplete \
             without.\n",
        );
        out.push_str(&job(plan, "dbhaul-rehearse", &schedule, command, 12));
    }
    File { path: NAME.to_owned(), text: out }
}

fn job(plan: &Plan, name: &str, schedule: &str, command: &str, hours: u32) -> String {
    let Plan { namespace, zone, image, .. } = plan;
    format!(
        "---
apiVersion: batch/v1
kind: CronJob
metadata:
  name: {name}
  namespace: {namespace}
spec:
  schedule: \"{schedule}\"
  timeZone: \"{zone}\"
  concurrencyPolicy: Forbid
  # After 100 missed starts a CronJob without a deadline never starts again.
  startingDeadlineSeconds: 3600
  successfulJobsHistoryLimit: 3
  failedJobsHistoryLimit: 7
  jobTemplate:
    spec:
      # A failed run is reported and not retried: the next night's run is the next attempt.
      backoffLimit: 0
      activeDeadlineSeconds: {seconds}
      template:
        spec:
          restartPolicy: Never
          automountServiceAccountToken: false
          securityContext:
            runAsNonRoot: true
            runAsUser: 65532
            runAsGroup: 65532
            fsGroup: 65532
            seccompProfile:
              type: RuntimeDefault
          containers:
            - name: dbhaul
              image: {image}
              args: {command}
              env:
                - name: DBHAUL_CONFIG
                  value: /etc/dbhaul/dbhaul.toml
                - name: STATE_DIRECTORY
                  value: /var/lib/dbhaul
              envFrom:
                - secretRef:
                    name: dbhaul-environment
                    optional: true
              securityContext:
                allowPrivilegeEscalation: false
                readOnlyRootFilesystem: true
                capabilities:
                  drop: [ALL]
              resources:
                requests:
                  cpu: 100m
                  memory: 128Mi
                limits:
                  memory: 1Gi
              volumeMounts:
                - name: config
                  mountPath: /etc/dbhaul
                  readOnly: true
                - name: state
                  mountPath: /var/lib/dbhaul
                - name: tmp
                  mountPath: /tmp
          volumes:
            - name: config
              secret:
                secretName: dbhaul-config
                defaultMode: 0440
            - name: state
              persistentVolumeClaim:
                claimName: dbhaul
            - name: tmp
              emptyDir: {{}}
",
        seconds = hours * 3600
    )
}
