//! A real API server for one test.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output};

/// Stopped when dropped.
pub(crate) struct Server {
    script: PathBuf,
    dir: tempfile::TempDir,
    port: u16,
}

impl Server {
    /// A server for `test`; `None` where none may be started.
    pub(crate) fn start(test: &str) -> Option<Self> {
        let Some(script) = std::env::var_os("CATCHMENT_TEST_CLUSTER") else {
            // Straight to the descriptor: the harness hides what print macros of a passing test say.
            let mut stderr = std::io::stderr();
            writeln!(stderr, "DID NOT RUN: {test}: set CATCHMENT_TEST_CLUSTER=tools/cluster/server.sh").unwrap();
            assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "an API server is needed in CI");
            return None;
        };
        let dir = tempfile::tempdir().unwrap();
        let server = Self { script: script.into(), dir, port: free_ports() };
        server.script("start", &[]);
        Some(server)
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// The kubeconfig of a user, `admin` or `reader`.
    pub(crate) fn kubeconfig(&self, user: &str) -> PathBuf {
        self.dir.path().join(format!("{user}.yaml"))
    }

    /// The kubeconfig of a user that reaches the server through another port.
    pub(crate) fn kubeconfig_through(&self, user: &str, port: u16) -> PathBuf {
        let text = std::fs::read_to_string(self.kubeconfig(user)).unwrap();
        let path = self.dir.path().join(format!("{user}-{port}.yaml"));
        std::fs::write(&path, text.replace(&format!("127.0.0.1:{}", self.port), &format!("127.0.0.1:{port}"))).unwrap();
        path
    }

    pub(crate) fn restart(&self) {
        self.script("restart", &[]);
    }

    /// Restarts, with every older revision forgotten.
    pub(crate) fn forget(&self) {
        self.script("forget", &[]);
    }

    /// What kubectl prints.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> String {
        String::from_utf8(self.script("kubectl", arguments).stdout).unwrap()
    }

    /// What kubectl answers, which may be a refusal.
    pub(crate) fn try_kubectl(&self, arguments: &[&str]) -> Output {
        self.answer("kubectl", arguments)
    }

    /// A path for a file of the test.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn answer(&self, command: &str, arguments: &[&str]) -> Output {
        let port = self.port.to_string();
        Command::new(&self.script).arg(command).arg(self.dir.path()).arg(port).args(arguments).output().unwrap()
    }

    fn script(&self, command: &str, arguments: &[&str]) -> Output {
        let output = self.answer(command, arguments);
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
        output
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let port = self.port.to_string();
        let _ = Command::new(&self.script).arg("stop").arg(self.dir.path()).arg(port).status();
    }
}

/// The first of three ports that nobody listens on.
fn free_ports() -> u16 {
    let free = |port: u16| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
    let first = 20_000 + (std::process::id() as u16 % 997) * 9;
    let next = |n: u16| first + n * 3;
    (0..300).map(next).find(|&port| reserve(port) && (port..port + 3).all(free)).expect("free ports")
}

/// Whether no other test of this process has taken the port.
fn reserve(port: u16) -> bool {
    static TAKEN: std::sync::Mutex<Vec<u16>> = std::sync::Mutex::new(Vec::new());
    let mut taken = TAKEN.lock().unwrap();
    let new = !taken.contains(&port);
    taken.push(port);
    new
}
