//! etcd, API server, controller manager and scheduler as one thing that is
//! started, asked and stopped.

use std::fs::{self, DirBuilder};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::TestbedError;
use crate::certificates::{self, Authority};
use crate::client::Client;
use crate::program::Program;

/// A start takes 13 s on two idle cores; a busy machine gets ten times that.
const PATIENCE: Duration = Duration::from_secs(130);
/// Ports are found free and then used, and somebody may come between.
const TRIES: usize = 3;

/// A running control plane. It stops when this is dropped, and when the
/// process that started it dies.
pub struct ControlPlane {
    /// In the order in which they end: those who ask before those who answer.
    programs: Vec<Program>,
    binary: PathBuf,
    folder: PathBuf,
    kubeconfig: PathBuf,
}

impl ControlPlane {
    /// Starts the programs of `binary` (see [`crate::control_plane`]) and
    /// returns when the API server is ready and has made the default service
    /// account. State, keys and logs are in `folder`, which must not exist yet;
    /// it is the caller's to remove.
    ///
    /// # Errors
    /// When a program ends or does not serve in time; the message has the end
    /// of its log.
    pub fn start(binary: &Path, folder: &Path) -> Result<Self, TestbedError> {
        for _ in 1..TRIES {
            match Self::start_once(binary, folder) {
                Err(TestbedError::Ended { tail, .. })
                    if tail.contains("address already in use") =>
                {
                    fs::remove_dir_all(folder)
                        .map_err(TestbedError::io("cannot remove", folder))?;
                }
                other => return other,
            }
        }
        Self::start_once(binary, folder)
    }

    fn start_once(binary: &Path, folder: &Path) -> Result<Self, TestbedError> {
        DirBuilder::new()
            .mode(0o700)
            .create(folder)
            .map_err(TestbedError::io("cannot make", folder))?;
        let [port, etcd, peer] = free_ports()?;
        let setup = Setup::write(folder, port, etcd, peer)?;
        let start = |name, arguments: &[String]| Program::start(binary, name, arguments, folder);
        let mut plane = Self {
            programs: Vec::new(),
            binary: binary.to_path_buf(),
            folder: folder.to_path_buf(),
            kubeconfig: setup.kubeconfig,
        };
        plane.programs.push(start("etcd", &setup.etcd)?);
        plane
            .programs
            .insert(0, start("kube-apiserver", &setup.apiserver)?);
        plane.wait(&setup.client, "/readyz")?;
        plane
            .programs
            .insert(0, start("kube-controller-manager", &setup.controllers)?);
        plane
            .programs
            .insert(0, start("kube-scheduler", &setup.scheduler)?);
        plane.wait(
            &setup.client,
            "/api/v1/namespaces/default/serviceaccounts/default",
        )?;
        Ok(plane)
    }

    fn wait(&mut self, client: &Client, what: &'static str) -> Result<(), TestbedError> {
        let until = Instant::now() + PATIENCE;
        loop {
            for program in &mut self.programs {
                program.must_run()?;
            }
            let last = match client.get(what) {
                Ok(200) => return Ok(()),
                Ok(code) => format!("last answer {code}"),
                Err(e) => format!("last error: {e}"),
            };
            if Instant::now() >= until {
                return Err(TestbedError::Late {
                    what,
                    seconds: PATIENCE.as_secs(),
                    last,
                    folder: self.folder.clone(),
                });
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// An administrator's kubeconfig (mode 0600), everything inside.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The programs' logs, one `NAME.log` each.
    pub fn logs(&self) -> &Path {
        &self.folder
    }

    /// kubectl of the same release, as the administrator.
    pub fn kubectl(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .arg("kubectl")
            .env("KUBECONFIG", &self.kubeconfig)
            // The user's cache knows other servers by the same port, and the
            // user's preferences change what kubectl does.
            .env("KUBECACHEDIR", self.folder.join("kubectl-cache"))
            .env("KUBERC", "off");
        command
    }

    /// Names and process ids, for those who measure.
    pub fn processes(&self) -> Vec<(&'static str, u32)> {
        self.programs.iter().map(|p| (p.name(), p.pid())).collect()
    }

    /// Fails when one of the programs has ended.
    ///
    /// # Errors
    /// The message has the end of its log.
    pub fn must_run(&mut self) -> Result<(), TestbedError> {
        self.programs.iter_mut().try_for_each(Program::must_run)
    }

    /// Stops the programs and returns when the last is gone. Dropping does the
    /// same; this says so where it happens.
    pub fn stop(self) {}
}

/// Keys, files and arguments of one control plane.
struct Setup {
    kubeconfig: PathBuf,
    client: Client,
    etcd: Vec<String>,
    apiserver: Vec<String>,
    controllers: Vec<String>,
    scheduler: Vec<String>,
}

impl Setup {
    fn write(folder: &Path, port: u16, etcd: u16, peer: u16) -> Result<Self, TestbedError> {
        let authority = Authority::new("testbed-ca")?;
        let ca = authority.write(folder, "ca")?;
        let (cert, key) = authority.server()?.write(folder, "server")?;
        let admin = authority.client("testbed-admin", Some("system:masters"))?;
        let (admin_cert, admin_key) = admin.write(folder, "admin")?;
        // Requests that the API server passes on to aggregated APIs are vouched
        // for by an authority of its own: one that also signed users would let
        // any of them speak in another's name.
        let fronts = Authority::new("testbed-front-proxy-ca")?;
        let front_ca = fronts.write(folder, "front-proxy-ca")?;
        let front = fronts.client("front-proxy-client", None)?;
        let (front_cert, front_key) = front.write(folder, "front-proxy-client")?;
        let (token_key, token_pub) = certificates::token_keys(folder)?;
        let config = |name: &str, user: &str| {
            let text = authority.kubeconfig(port, &authority.client(user, None)?);
            certificates::write(&folder.join(format!("{name}.kubeconfig")), &text)
        };
        let controllers = config("controllers", "system:kube-controller-manager")?;
        let scheduler = config("scheduler", "system:kube-scheduler")?;
        let kubeconfig = folder.join("kubeconfig");
        certificates::write(&kubeconfig, &authority.kubeconfig(port, &admin))?;

        let file = |name: &str, path: &Path| format!("--{name}={}", path.display());
        let (clients, peers) = (
            format!("https://127.0.0.1:{etcd}"),
            format!("https://127.0.0.1:{peer}"),
        );
        // etcd asks for certificates too: whoever could write to it would be
        // the cluster's administrator.
        let etcd = [
            vec![
                "--name=testbed".to_owned(),
                file("data-dir", &folder.join("etcd")),
                // The state dies with the machine; waiting for the disk is a
                // third of a start.
                "--unsafe-no-fsync".to_owned(),
                "--log-level=warn".to_owned(),
                format!("--listen-client-urls={clients}"),
                format!("--advertise-client-urls={clients}"),
                format!("--listen-peer-urls={peers}"),
                format!("--initial-advertise-peer-urls={peers}"),
                format!("--initial-cluster=testbed={peers}"),
                "--client-cert-auth".to_owned(),
                "--peer-client-cert-auth".to_owned(),
            ],
            ["", "peer-"]
                .iter()
                .flat_map(|side| {
                    [
                        file(&format!("{side}cert-file"), &cert),
                        file(&format!("{side}key-file"), &key),
                        file(&format!("{side}trusted-ca-file"), &ca),
                    ]
                })
                .collect(),
        ]
        .concat();
        let apiserver = vec![
            format!("--etcd-servers={clients}"),
            file("etcd-cafile", &ca),
            file("etcd-certfile", &admin_cert),
            file("etcd-keyfile", &admin_key),
            "--bind-address=127.0.0.1".to_owned(),
            // Without it the server looks for a default route.
            "--advertise-address=127.0.0.1".to_owned(),
            format!("--secure-port={port}"),
            file("tls-cert-file", &cert),
            file("tls-private-key-file", &key),
            file("client-ca-file", &ca),
            file("requestheader-client-ca-file", &front_ca),
            "--requestheader-allowed-names=front-proxy-client".to_owned(),
            "--requestheader-username-headers=X-Remote-User".to_owned(),
            "--requestheader-group-headers=X-Remote-Group".to_owned(),
            "--requestheader-extra-headers-prefix=X-Remote-Extra-".to_owned(),
            file("proxy-client-cert-file", &front_cert),
            file("proxy-client-key-file", &front_key),
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local".to_owned(),
            file("service-account-key-file", &token_pub),
            file("service-account-signing-key-file", &token_key),
            "--authorization-mode=RBAC".to_owned(),
            "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
            "--endpoint-reconciler-type=none".to_owned(),
            "--profiling=false".to_owned(),
        ];
        // Port 0: the two serve nothing of their own, so they need neither a
        // port nor a certificate.
        let controllers = vec![
            file("kubeconfig", &controllers),
            "--secure-port=0".to_owned(),
            "--leader-elect=false".to_owned(),
            "--use-service-account-credentials=true".to_owned(),
            file("service-account-private-key-file", &token_key),
            file("root-ca-file", &ca),
            // Simulated nodes renew no lease.
            "--node-monitor-grace-period=24h".to_owned(),
        ];
        let scheduler = vec![
            file("kubeconfig", &scheduler),
            "--secure-port=0".to_owned(),
            "--leader-elect=false".to_owned(),
        ];
        let client = authority.https(port, &admin)?;
        Ok(Self {
            kubeconfig,
            client,
            etcd,
            apiserver,
            controllers,
            scheduler,
        })
    }
}

/// Ports that nobody listens on, all held until all are found.
fn free_ports<const N: usize>() -> Result<[u16; N], TestbedError> {
    let loopback = PathBuf::from("127.0.0.1");
    let mut ports = [0; N];
    let mut held = Vec::new();
    for port in &mut ports {
        let found = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|l| Ok((l.local_addr()?.port(), l)))
            .map_err(TestbedError::io("no free port on", &loopback))?;
        *port = found.0;
        held.push(found.1);
    }
    Ok(ports)
}
