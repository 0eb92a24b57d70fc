//! The binary under test, and its processes.

use std::process::{Child, Command};

/// The binary under test.
pub(crate) fn binary() -> Command {
    Command::new(env!("CARGO_BIN_EXE_catchment"))
}

/// Ends the process when the test ends, however it does.
pub(crate) struct Running(pub(crate) Child);

impl Running {
    /// Asks it to stop; a stopped process exits with 0.
    pub(crate) fn stop(&mut self) {
        let asked = Command::new("kill").arg(self.0.id().to_string()).status();
        assert!(asked.expect("kill runs").success());
        assert!(self.0.wait().expect("the process ends").success(), "a stopped process exits with 0");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
