//! gRPC: a real server and a real client (Debian's python3-grpcio), which pass bytes.

use std::path::Path;
use std::process::Command;

use super::process::Process;
use super::{eventually, gate};

fn peer(name: &str) -> Command {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gate/peers");
    let mut command = Command::new("/usr/bin/python3");
    command.arg(folder.join(name)).env("GRPC_VERBOSITY", "NONE");
    command
}

/// A gRPC server; ends with the test.
pub struct Server {
    pub process: Process,
    pub port: String,
}

impl Server {
    #[track_caller]
    pub fn start(args: &[&Path]) -> Self {
        let mut command = peer("grpc_server.py");
        command.args(args);
        let process = Process::start(command, "");
        let port = eventually("the server says its port", || {
            let out = process.out();
            out.split_once('\n').map(|(port, _)| port.to_owned())
        });
        Self { process, port }
    }

    /// Waits until it has said this.
    #[track_caller]
    pub fn await_word(&self, word: &str) {
        eventually(&format!("the server says {word}"), || {
            self.process.out().contains(word).then_some(())
        });
    }
}

/// A client of the gate at this port. It trusts the certificate that tests share.
pub fn client(port: u16, what: &str, args: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = peer("grpc_client.py");
    command
        .arg(port.to_string())
        .arg(gate::certificate().0)
        .arg(what)
        .args(args)
        .envs(variables.iter().copied());
    command
}
