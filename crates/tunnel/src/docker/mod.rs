//! Docker containers.

mod inspect;
mod relay;

use crate::address::Route;
use crate::host::{Host, Target};
use crate::process::Line;
use crate::stream::Stream;
use crate::{Error, Programs, Secret};

use inspect::Inspected;

/// A container, resolved once.
#[derive(Debug)]
pub(crate) struct Container {
    host: Host,
    program: String,
    /// Its name in the URL.
    pub(crate) name: String,
    pub(crate) port: u16,
    inspected: Inspected,
    /// Possible routes, the best one first.
    routes: Vec<(Route, Option<Target>)>,
}

impl Container {
    pub(crate) async fn open(
        host: Host,
        name: &str,
        port: u16,
        route: Option<Route>,
        programs: &Programs,
    ) -> Result<Container, Error> {
        let inspected = look_up(&host, &programs.docker, name).await?;
        let routes = routes(&host, &inspected, port, route, programs).await;
        let mut container = Container {
            host,
            program: programs.docker.clone(),
            name: name.to_owned(),
            port,
            inspected,
            routes,
        };
        container.choose().await?;
        Ok(container)
    }

    /// The full id.
    pub(crate) fn id(&self) -> &str {
        &self.inspected.id
    }

    /// The image, as requested.
    pub(crate) fn image(&self) -> &str {
        &self.inspected.config.image
    }

    /// The route in use.
    pub(crate) fn route(&self) -> Option<Route> {
        self.routes.first().map(|(route, _)| *route)
    }

    /// A variable of its environment.
    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        self.inspected.variable(name)
    }

    /// An environment variable that must exist.
    pub(crate) fn password(&self, name: &str) -> Result<Secret, Error> {
        self.variable(name).map(Secret::new).ok_or_else(|| Error::MissingVariable {
            container: self.name.clone(),
            name: name.to_owned(),
            names: self.inspected.variables(),
        })
    }

    /// Connects, to the same container as at the start.
    pub(crate) async fn connect(&self) -> Result<Stream, Error> {
        let Some((route, target)) = self.routes.first() else { return Err(self.no_route(&[])) };
        if *route == Route::Published {
            // A published port may outlive its container; the id does not.
            let now = look_up(&self.host, &self.program, &self.name).await?;
            if now.id != self.inspected.id {
                return Err(self.replaced(&now.id));
            }
        }
        match self.through(*route, target.as_ref()).await {
            Ok(stream) => Ok(stream),
            Err(error) => match look_up(&self.host, &self.program, &self.name).await {
                Ok(now) if now.id != self.inspected.id => Err(self.replaced(&now.id)),
                Err(gone @ (Error::NotRunning { .. } | Error::Failed { .. })) => Err(gone),
                _ => Err(error),
            },
        }
    }

    fn replaced(&self, now: &str) -> Error {
        Error::Replaced {
            object: format!("container `{}`", self.name),
            before: self.inspected.id.clone(),
            now: now.to_owned(),
        }
    }

    fn no_route(&self, tried: &[String]) -> Error {
        let tried = match tried {
            [] => "it has no address on this host, publishes no port, and no other route worked".to_owned(),
            tried => tried.join("; "),
        };
        Error::NoRoute { container: self.name.clone(), port: self.port, tried }
    }

    /// Keeps the first route on which something answers, or which at least does not fail immediately. Programs
    /// missing in the image are reported in their own words.
    async fn choose(&mut self) -> Result<(), Error> {
        let mut tried = Vec::new();
        for (route, target) in std::mem::take(&mut self.routes) {
            let probe = async { self.through(route, target.as_ref()).await?.survives().await };
            match probe.await {
                Ok(()) => {
                    self.routes = vec![(route, target)];
                    return Ok(());
                }
                Err(error) => tried.push(format!("{}: {}", route.as_str(), std::io::Error::from(error))),
            }
        }
        Err(self.no_route(&tried))
    }

    async fn through(&self, route: Route, target: Option<&Target>) -> Result<Stream, Error> {
        match (route, target) {
            (Route::Exec, _) => self.host.piped(relay::line(&self.program, self.id(), &self.name, self.port)),
            (_, Some(target)) => self.host.connect(target).await,
            (_, None) => Err(self.no_route(&[])),
        }
    }
}

async fn look_up(host: &Host, program: &str, name: &str) -> Result<Inspected, Error> {
    let what = format!("docker inspect `{name}`");
    let line = Line::new(&what, program, &["inspect", "--type", "container", "--", name]);
    let inspected = inspect::parse(&what, &host.output(line).await?)?;
    match inspected.state.running && !inspected.state.paused {
        true => Ok(inspected),
        false => Err(Error::NotRunning {
            object: format!("container `{name}`"),
            state: inspected.state.describe(),
        }),
    }
}

/// The routes to a container. Its own address and its published port are reliable only if Docker's network belongs to
/// the connecting host: with Docker Desktop, rootless Docker or `DOCKER_HOST` the same numbers may lead to another
/// server, so there a published port is the last choice.
async fn routes(
    host: &Host,
    inspected: &Inspected,
    port: u16,
    route: Option<Route>,
    programs: &Programs,
) -> Vec<(Route, Option<Target>)> {
    let here = inspected.on_networks_of(&local_addresses(host).await);
    let address = here.map(|ip| (Route::Address, Some(Target::Tcp(ip, port))));
    let published = match remote_daemon(host, &programs.docker).await {
        true => None,
        false => inspected.published(port).map(|(ip, port)| (Route::Published, Some(Target::Tcp(ip, port)))),
    };
    let exec = (Route::Exec, None);
    let all = address.into_iter().chain([exec]).chain(published);
    all.filter(|(found, _)| route.is_none_or(|wanted| wanted == *found)).collect()
}

/// The host's own addresses as listed by the system; empty on systems without such a list.
async fn local_addresses(host: &Host) -> String {
    const LIST: &str = "/proc/net/fib_trie";
    let bytes = match host {
        Host::Local => tokio::fs::read(LIST).await.unwrap_or_default(),
        Host::Ssh(_) => host.output(Line::new("cat", "cat", &[LIST])).await.unwrap_or_default(),
    };
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Whether the docker command talks to another host, as far as it shows.
async fn remote_daemon(host: &Host, program: &str) -> bool {
    let arguments = ["context", "inspect", "--format", "{{.Endpoints.docker.Host}}"];
    let endpoint = host.output(Line::new("docker context inspect", program, &arguments)).await;
    let endpoint = endpoint.unwrap_or_default();
    let endpoint = String::from_utf8_lossy(&endpoint);
    ["tcp://", "ssh://", "http://", "https://"].iter().any(|scheme| endpoint.trim().starts_with(scheme))
}
