//! What can be measured, and what Portcullis is meant to reach.

/// Something to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum Case {
    /// HTTP/1: 32 connections ask for 128 bytes
    H1,
    /// HTTP/2: 32 connections with 16 streams each ask for 128 bytes
    H2,
    /// HTTP/1: 16 connections ask for 64 KiB
    #[value(name = "body-64k")]
    Body64k,
    /// HTTP/1: 4 connections ask for 10 MiB
    #[value(name = "body-10m")]
    Body10m,
    /// HTTP/1: 4 connections send 10 MiB
    #[value(name = "upload-10m")]
    Upload10m,
    /// HTTP/2: 16 connections ask for 64 KiB
    #[value(name = "h2-64k")]
    H2Body64k,
    /// HTTP/2: 4 connections ask for 10 MiB
    #[value(name = "h2-10m")]
    H2Body10m,
    /// Full TLS 1.3 handshakes with an ECDSA P-256 certificate, 8 at a time
    HandshakeEcdsa,
    /// Full TLS 1.3 handshakes with an RSA 2048 certificate, 8 at a time
    HandshakeRsa,
    /// Resumed TLS 1.3 handshakes with a request each, 8 at a time
    HandshakeResumed,
    /// Percentiles at half of nginx's rate, 64 connections
    Latency,
    /// The same while 4 clients do full handshakes without a pause
    LatencyHandshakes,
    /// Portcullis at a quarter of nginx's rate, alone and while 16 clients log in without a pause
    LatencyLogins,
    /// Memory of each further idle connection, from 1,000 to 3,000
    IdleMemory,
    /// Memory at rest and under a small load
    Resident,
    /// From the start of the program until it is ready
    Start,
    /// Logins to Portcullis, 8 at a time
    Logins,
    /// How long Portcullis takes to refuse a login, by the reason
    LoginTiming,
    /// Portcullis with 10 and with 10,000 routes
    Routes,
    /// Portcullis with 1,000 and with 100,000 people logged in
    Sessions,
    /// Full handshakes with Portcullis that has 1 and 1,000 certificates, each asked for by name
    Certificates,
}

impl Case {
    /// As on the command line.
    pub fn name(self) -> String {
        let value = clap::ValueEnum::to_possible_value(&self);
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// What it is, in a sentence.
    pub fn about(self) -> String {
        let value = clap::ValueEnum::to_possible_value(&self);
        let help = value.as_ref().and_then(|value| value.get_help());
        help.map_or_else(String::new, ToString::to_string)
    }
}
