//! A fake Kubernetes API, with the parts that kubectl needs to read pods, services, controllers and secrets, and to
//! forward a port by SPDY/3.1. The servers behind its pods are real.
#![allow(clippy::unwrap_used, reason = "a test stops where its stage is broken")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::{or_skip, write_program};
use crate::{Error, Places};

/// kubectl, from the cache of `scripts/servers` or from this host; otherwise prints `SKIPPED` and returns `None`.
pub fn require_kubectl() -> Option<PathBuf> {
    let places = Places::from_env();
    // Prefer the cached one, which is a tested version.
    let cached = Places { folders: Vec::new(), ..places.clone() }.programs("kubectl", "kubectl");
    let found =
        cached.into_iter().next_back().or_else(|| places.programs("kubectl", "kubectl").into_iter().next());
    or_skip(found.ok_or_else(|| Error::NotFound { wanted: "kubectl".to_owned(), looked: places.shown() }))
}

/// A pod of the API.
#[derive(Debug, Clone)]
pub struct FakePod {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Its label `app`.
    pub app: String,
    /// `Running`, `Pending` …
    pub phase: String,
    /// The socket behind all its ports; without one each connection is refused.
    pub socket: Option<PathBuf>,
}

/// The API server. It runs until the test ends.
pub struct FakeKubernetes {
    state: Arc<State>,
    port: u16,
    folder: tempfile::TempDir,
}

struct State {
    pods: Mutex<Vec<FakePod>>,
    objects: Mutex<BTreeMap<String, String>>,
    /// Bytes from servers until all forwards are cut.
    budget: AtomicU64,
}

const NAMESPACE: &str = "coin-pilot-ns";

impl FakeKubernetes {
    /// Serves a namespace, `coin-pilot-ns`, with these pods.
    ///
    /// # Errors
    /// I/O errors.
    pub fn start(pods: Vec<FakePod>) -> io::Result<FakeKubernetes> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let state = Arc::new(State {
            pods: Mutex::new(pods),
            objects: Mutex::default(),
            budget: AtomicU64::new(u64::MAX),
        });
        let serving = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&serving);
                std::thread::spawn(move || drop(state.serve(stream)));
            }
        });
        let folder = tempfile::tempdir()?;
        let contexts = [("minikube", port), ("elsewhere", 1)].map(|(name, port)| {
            format!(
                "- {{name: {name}, cluster: {{server: 'http://127.0.0.1:{port}'}}}}\n- {{name: {name}, context: {{cluster: {name}, user: u}}}}\n"
            )
        });
        let mut text =
            "apiVersion: v1\nkind: Config\ncurrent-context: minikube\nusers: [{name: u, user: {}}]\n"
                .to_owned();
        for (at, key) in ["clusters", "contexts"].iter().enumerate() {
            let _ = writeln!(text, "{key}:");
            text.extend(
                contexts.iter().filter_map(|pair| pair.lines().nth(at)).map(|line| format!("{line}\n")),
            );
        }
        std::fs::write(folder.path().join("config"), text)?;
        Ok(FakeKubernetes { state, port, folder })
    }

    /// Adds a service for pods with the label `app`. `ports` is JSON.
    pub fn service(&self, name: &str, app: &str, ports: &str) {
        let spec = format!(r#""spec":{{"clusterIP":"None","selector":{{"app":"{app}"}},"ports":{ports}}}"#);
        self.object("v1", "Service", "/api/v1", "services", name, &spec);
    }

    /// Adds a StatefulSet for pods with the label `app`.
    pub fn stateful_set(&self, name: &str, app: &str) {
        let spec = format!(r#""spec":{{"selector":{{"matchLabels":{{"app":"{app}"}}}}}}"#);
        self.object("apps/v1", "StatefulSet", "/apis/apps/v1", "statefulsets", name, &spec);
    }

    /// Adds a secret with one key.
    pub fn secret(&self, name: &str, key: &str, value: &str) {
        let data = format!(r#""data":{{"{key}":"{}"}}"#, base64(value.as_bytes()));
        self.object("v1", "Secret", "/api/v1", "secrets", name, &data);
    }

    fn object(&self, version: &str, kind: &str, root: &str, plural: &str, name: &str, rest: &str) {
        let text = format!(
            r#"{{"apiVersion":"{version}","kind":"{kind}","metadata":{{"name":"{name}","namespace":"{NAMESPACE}","uid":"uid-of-{name}"}},{rest}}}"#
        );
        let path = format!("{root}/namespaces/{NAMESPACE}/{plural}/{name}");
        self.state.objects.lock().unwrap().insert(path, text);
    }

    /// Changes the pods.
    pub fn change(&self, change: impl FnOnce(&mut Vec<FakePod>)) {
        change(&mut self.state.pods.lock().unwrap());
    }

    /// Cuts all forwards after this many more bytes from servers, as if a node died.
    pub fn cut_after(&self, bytes: u64) {
        self.state.budget.store(bytes, Ordering::SeqCst);
    }

    /// A wrapper script for kubectl with a configuration for this API: the contexts `minikube`, which is the current
    /// one, and `elsewhere`, which nothing serves.
    ///
    /// # Errors
    /// I/O errors.
    pub fn kubectl(&self, real: &Path) -> io::Result<PathBuf> {
        let home = self.folder.path().display();
        let bin = self.folder.path().join("bin");
        std::fs::create_dir_all(&bin)?;
        let path = bin.join("kubectl");
        let text =
            format!("#!/bin/sh\nHOME={home} KUBECONFIG={home}/config exec {} \"$@\"\n", real.display());
        write_program(&path, &text)?;
        Ok(path)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl State {
    fn serve(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut writer = stream;
        loop {
            let mut head = Vec::new();
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line)? == 0 {
                    return Ok(());
                }
                match line.trim() {
                    "" => break,
                    line => head.push(line.to_owned()),
                }
            }
            let request = head.first().cloned().unwrap_or_default();
            let target = request.split(' ').nth(1).unwrap_or_default().to_owned();
            let has = |name: &str, value: &str| {
                head.iter().any(|line| {
                    let line = line.to_ascii_lowercase();
                    line.starts_with(name) && line.contains(value)
                })
            };
            if target.ends_with("/portforward") && has("upgrade:", "spdy/3.1") {
                let pod = target.rsplit('/').nth(1).unwrap_or_default();
                let socket =
                    self.pods.lock().unwrap().iter().find(|p| p.name == pod).and_then(|p| p.socket.clone());
                write!(
                    writer,
                    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\
                     X-Stream-Protocol-Version: portforward.k8s.io\r\n\r\n"
                )?;
                return Forward { state: self, socket }.serve(reader, writer);
            }
            let (status, body) = match target.contains("/portforward") {
                // Without WebSocket support, kubectl falls back to SPDY.
                true => ("400 Bad Request", status("only SPDY", 400)),
                false => match self.answer(&target) {
                    Some(body) => ("200 OK", body),
                    None => ("404 Not Found", status(&format!("{target} not found"), 404)),
                },
            };
            write!(
                writer,
                "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )?;
        }
    }

    fn answer(&self, target: &str) -> Option<String> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let resources = |version: &str, list: &[(&str, &str)]| {
            let list: Vec<String> = list
                .iter()
                .map(|(plural, kind)| {
                    let singular = kind.to_ascii_lowercase();
                    format!(
                        r#"{{"name":"{plural}","singularName":"{singular}","namespaced":true,"kind":"{kind}","verbs":["get","list"]}}"#
                    )
                })
                .collect();
            let list = list.join(",");
            format!(
                r#"{{"kind":"APIResourceList","apiVersion":"v1","groupVersion":"{version}","resources":[{list}]}}"#
            )
        };
        let pods = format!("/api/v1/namespaces/{NAMESPACE}/pods");
        Some(match path {
            "/api" => r#"{"kind":"APIVersions","versions":["v1"]}"#.to_owned(),
            "/apis" => r#"{"kind":"APIGroupList","apiVersion":"v1","groups":[{"name":"apps",
                "versions":[{"groupVersion":"apps/v1","version":"v1"}],
                "preferredVersion":{"groupVersion":"apps/v1","version":"v1"}}]}"#
                .to_owned(),
            "/api/v1" => resources("v1", &[("pods", "Pod"), ("services", "Service"), ("secrets", "Secret")]),
            "/apis/apps/v1" => {
                resources("apps/v1", &[("statefulsets", "StatefulSet"), ("deployments", "Deployment")])
            }
            path if path == pods => {
                let all = self.pods.lock().unwrap();
                let wanted = |pod: &&FakePod| {
                    !query.contains("labelSelector") || query.contains(&format!("app%3D{}", pod.app))
                };
                let items: Vec<String> = all.iter().filter(wanted).map(pod_json).collect();
                format!(
                    r#"{{"kind":"PodList","apiVersion":"v1","metadata":{{}},"items":[{}]}}"#,
                    items.join(",")
                )
            }
            path => match path.strip_prefix(&format!("{pods}/")) {
                Some(name) => pod_json(self.pods.lock().unwrap().iter().find(|pod| pod.name == name)?),
                None => self.objects.lock().unwrap().get(path)?.clone(),
            },
        })
    }
}

fn status(message: &str, code: u16) -> String {
    let reason = if code == 404 { "NotFound" } else { "BadRequest" };
    format!(
        r#"{{"kind":"Status","apiVersion":"v1","status":"Failure","message":"{message}","reason":"{reason}","code":{code}}}"#
    )
}

fn pod_json(pod: &FakePod) -> String {
    let FakePod { name, uid, app, phase, .. } = pod;
    let ready = if phase == "Running" { "True" } else { "False" };
    format!(
        r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"{name}","namespace":"{NAMESPACE}","uid":"{uid}",
        "labels":{{"app":"{app}"}},"ownerReferences":[{{"apiVersion":"apps/v1","kind":"StatefulSet","name":"{app}",
        "uid":"uid-of-{app}"}}]}},"spec":{{"containers":[{{"name":"c","image":"registry.test/{app}:1","ports":[{{"name":"server","containerPort":5432}}]}}]}},
        "status":{{"phase":"{phase}","conditions":[{{"type":"Ready","status":"{ready}"}}]}}}}"#
    )
}

/// A connection of kubectl: SPDY/3.1 frames. Headers are compressed and not needed: kubectl opens an error stream and
/// then a data stream for each connection.
struct Forward<'a> {
    state: &'a State,
    socket: Option<PathBuf>,
}

/// A zlib header, a stored block that contains zero headers, and an empty block, which flushes the reader. The
/// compression state continues from response to response.
const FIRST_HEADERS: &[u8] = &[0x78, 0x01, 0, 4, 0, 0xfb, 0xff, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];
const MORE_HEADERS: &[u8] = &[0, 4, 0, 0xfb, 0xff, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

impl Forward<'_> {
    fn serve(&self, mut reader: impl Read, writer: TcpStream) -> io::Result<()> {
        let writer = Arc::new(Mutex::new(writer));
        let mut opened = 0;
        let mut error_stream = 0;
        let mut servers: BTreeMap<u32, UnixStream> = BTreeMap::new();
        std::thread::scope(|scope| {
            loop {
                let mut head = [0; 8];
                if reader.read_exact(&mut head).is_err() {
                    break;
                }
                let [a, b, c, d, flags, x, y, z] = head;
                let mut body = vec![0; u32::from_be_bytes([0, x, y, z]) as usize];
                reader.read_exact(&mut body)?;
                let first = u32::from_be_bytes([a, b, c, d]);
                if first & 0x8000_0000 == 0 {
                    if let Some(server) = servers.get_mut(&first) {
                        let _ = server.write_all(&body);
                        if flags & 1 == 1 {
                            let _ = server.shutdown(std::net::Shutdown::Write);
                        }
                    }
                    continue;
                }
                match first & 0xffff {
                    // SYN_STREAM
                    1 => {
                        let id = u32::from_be_bytes(body.get(..4).unwrap().try_into().unwrap());
                        let headers = if opened == 0 { FIRST_HEADERS } else { MORE_HEADERS };
                        control(&writer, 2, &[&id.to_be_bytes(), headers].concat())?;
                        opened += 1;
                        if opened % 2 == 1 {
                            error_stream = id;
                            continue;
                        }
                        let connected = match &self.socket {
                            Some(socket) => UnixStream::connect(socket),
                            None => Err(io::ErrorKind::ConnectionRefused.into()),
                        };
                        match connected {
                            Ok(server) => {
                                let from = server.try_clone()?;
                                servers.insert(id, server);
                                let writer = Arc::clone(&writer);
                                scope.spawn(move || self.pump(from, &writer, id, error_stream));
                            }
                            Err(error) => {
                                data(
                                    &writer,
                                    error_stream,
                                    format!("failed to connect in pod: {error}").as_bytes(),
                                    1,
                                )?;
                                data(&writer, id, b"", 1)?;
                            }
                        }
                    }
                    // A PING is echoed.
                    6 => control(&writer, 6, &body)?,
                    // GOAWAY
                    7 => break,
                    _ => {}
                }
            }
            for server in servers.values() {
                let _ = server.shutdown(std::net::Shutdown::Both);
            }
            Ok(())
        })
    }

    fn pump(&self, mut from: UnixStream, writer: &Mutex<TcpStream>, id: u32, error_stream: u32) {
        let mut buffer = vec![0; 32 << 10];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            let left = self.state.budget.load(Ordering::SeqCst);
            if left < read as u64 {
                let _ = writer.lock().unwrap().shutdown(std::net::Shutdown::Both);
                return;
            }
            if left != u64::MAX {
                self.state.budget.fetch_sub(read as u64, Ordering::SeqCst);
            }
            if data(writer, id, buffer.get(..read).unwrap_or_default(), 0).is_err() {
                return;
            }
        }
        let _ = data(writer, error_stream, b"", 1);
        let _ = data(writer, id, b"", 1);
    }
}

fn control(writer: &Mutex<TcpStream>, kind: u16, body: &[u8]) -> io::Result<()> {
    let [_, x, y, z] = u32::try_from(body.len()).unwrap().to_be_bytes();
    let [k, l] = kind.to_be_bytes();
    writer.lock().unwrap().write_all(&[&[0x80, 3, k, l, 0, x, y, z], body].concat())
}

fn data(writer: &Mutex<TcpStream>, id: u32, body: &[u8], flags: u8) -> io::Result<()> {
    let [_, x, y, z] = u32::try_from(body.len()).unwrap().to_be_bytes();
    let head = [&id.to_be_bytes()[..], &[flags, x, y, z]].concat();
    writer.lock().unwrap().write_all(&[head.as_slice(), body].concat())
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let number =
            chunk.iter().chain([0, 0].iter()).take(3).fold(0_usize, |n, byte| (n << 8) | usize::from(*byte));
        for at in 0..4 {
            match at <= chunk.len() {
                true => text.push(char::from(DIGITS[(number >> (18 - 6 * at)) & 63])),
                false => text.push('='),
            }
        }
    }
    text
}
