//! Clients: curl for what people do, raw connections for what nobody should.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;

use boring::ssl::{SslConnector, SslFiletype, SslMethod, SslStream, SslVerifyMode};

use super::PATIENCE;

/// One curl call. `get` runs it.
pub struct Curl {
    port: u16,
    args: Vec<String>,
}

/// What curl got.
#[derive(Debug)]
pub struct Got {
    pub status: u16,
    /// The head of the last answer, as text.
    pub head: String,
    pub body: String,
    /// curl's exit code.
    pub exit: i32,
}

impl Curl {
    pub fn new(port: u16) -> Self {
        let args = ["-sk", "-i", "--path-as-is", "--max-time", "60"];
        Self {
            port,
            args: args.map(str::to_owned).to_vec(),
        }
    }

    pub fn args<'a>(mut self, args: impl IntoIterator<Item = &'a str>) -> Self {
        self.args.extend(args.into_iter().map(str::to_owned));
        self
    }

    pub fn header(self, header: &str) -> Self {
        self.args(["-H", header])
    }

    pub fn session(self, cookie: &str) -> Self {
        let header = format!("Cookie: __Host-portcullis={cookie}");
        self.header(&header)
    }

    /// As a browser asks for a page.
    pub fn browser(self) -> Self {
        self.header("Accept: text/html,application/xhtml+xml,*/*;q=0.8")
    }

    #[track_caller]
    pub fn get(self, path: &str) -> Got {
        let url = format!("https://localhost:{}{path}", self.port);
        self.fetch(&url)
    }

    /// Asks for a URL wherever it is.
    #[track_caller]
    pub fn fetch(self, url: &str) -> Got {
        let output = Command::new("curl")
            .args(&self.args)
            .arg(url)
            .output()
            .unwrap();
        Got::parse(&output.stdout, output.status.code().unwrap_or(-1))
    }
}

impl Got {
    fn parse(bytes: &[u8], exit: i32) -> Self {
        let mut rest = String::from_utf8_lossy(bytes).into_owned();
        let (mut head, mut status) = (String::new(), 0);
        // Interim answers come before the last one.
        while rest.starts_with("HTTP/") {
            let (first, remainder) = rest.split_once("\r\n\r\n").unwrap_or((&rest, ""));
            head = first.to_owned();
            status = head.split(' ').nth(1).unwrap().parse().unwrap();
            rest = remainder.to_owned();
            if status >= 200 {
                break;
            }
        }
        Self {
            status,
            head,
            body: rest,
            exit,
        }
    }

    /// The values of a field.
    pub fn all(&self, name: &str) -> Vec<&str> {
        values(&self.head, name)
    }

    /// The value of a field that must be there at most once.
    #[track_caller]
    pub fn field(&self, name: &str) -> Option<&str> {
        value(&self.head, name)
    }

    /// The session id that this answer gives.
    pub fn session_cookie(&self) -> Option<String> {
        cookie(&self.all("set-cookie"), "__Host-portcullis")
    }

    /// The nonce of the login form.
    pub fn login_cookie(&self) -> Option<String> {
        cookie(&self.all("set-cookie"), "__Host-portcullis-login")
    }

    /// The value of a form's input.
    #[track_caller]
    pub fn input(&self, name: &str) -> String {
        let marker = format!("name=\"{name}\" value=\"");
        let (_, rest) = self
            .body
            .split_once(&marker)
            .unwrap_or_else(|| panic!("{self:?}"));
        rest.split('"').next().unwrap().to_owned()
    }
}

fn cookie(set: &[&str], name: &str) -> Option<String> {
    set.iter()
        .filter_map(|value| value.strip_prefix(name)?.strip_prefix('='))
        .map(|value| value.split(';').next().unwrap().to_owned())
        .find(|value| !value.is_empty())
}

/// Logs in as a person does: opens the form, and sends it back filled in. `args` are for curl.
#[track_caller]
pub fn log_in_by_form(port: u16, args: &[&str], user: &str, password: &str) -> Got {
    let curl = || Curl::new(port).args(args.iter().copied()).browser();
    let form = curl().get("/auth/login");
    assert_eq!(form.status, 200, "{form:?}");
    let nonce = form.login_cookie().unwrap();
    let mut post = curl().header(&format!("Cookie: __Host-portcullis-login={nonce}"));
    for (name, value) in [
        ("csrf", form.input("csrf").as_str()),
        ("rd", form.input("rd").as_str()),
        ("username", user),
        ("password", password),
    ] {
        post = post.args(["--data-urlencode", &format!("{name}={value}")]);
    }
    post.get("/auth/login")
}

/// The fields of a head given as text.
pub fn fields(head: &str) -> impl Iterator<Item = (&str, &str)> {
    head.lines()
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name, value.trim()))
}

/// The values of a field of a head given as text, by its name in any case.
pub fn values<'h>(head: &'h str, name: &str) -> Vec<&'h str> {
    fields(head)
        .filter(|(found, _)| found.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
        .collect()
}

/// The value of a field that must be there at most once.
#[track_caller]
pub fn value<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    let all = values(head, name);
    assert!(all.len() < 2, "{name}: {all:?}");
    all.first().copied()
}

/// A connection on which a test sends what it likes.
pub struct Connection(Transport);

enum Transport {
    Tls(Box<SslStream<TcpStream>>),
    Plain(TcpStream),
}

impl Connection {
    /// Over TLS, without looking at the certificate.
    #[track_caller]
    pub fn tls(address: SocketAddr) -> Self {
        Self::tls_over(tcp(address), "http/1.1")
    }

    /// The same with a client certificate, its chain and key from one file.
    #[track_caller]
    pub fn with_certificate(address: SocketAddr, file: &Path) -> Self {
        let mut connector = SslConnector::builder(SslMethod::tls()).unwrap();
        connector.set_verify(SslVerifyMode::NONE);
        connector.set_certificate_chain_file(file).unwrap();
        connector
            .set_private_key_file(file, SslFiletype::PEM)
            .unwrap();
        connector.set_alpn_protos(b"\x08http/1.1").unwrap();
        let mut settings = connector.build().configure().unwrap();
        settings.set_verify_hostname(false);
        let stream = settings.connect("localhost", tcp(address)).unwrap();
        Self(Transport::Tls(Box::new(stream)))
    }

    /// The same for somebody who will speak HTTP/2.
    #[track_caller]
    pub fn http2(address: SocketAddr) -> Self {
        Self::tls_over(tcp(address), "h2")
    }

    /// TLS on a connection that is already there, for the protocol of this name.
    #[track_caller]
    pub fn tls_over(tcp: TcpStream, protocol: &str) -> Self {
        let mut connector = SslConnector::builder(SslMethod::tls()).unwrap();
        connector.set_verify(SslVerifyMode::NONE);
        let length = u8::try_from(protocol.len()).unwrap();
        let offer = [&[length], protocol.as_bytes()].concat();
        connector.set_alpn_protos(&offer).unwrap();
        let mut settings = connector.build().configure().unwrap();
        settings.set_verify_hostname(false);
        let stream = settings.connect("localhost", tcp).unwrap();
        assert_eq!(
            stream.ssl().selected_alpn_protocol(),
            Some(protocol.as_bytes())
        );
        Self(Transport::Tls(Box::new(stream)))
    }

    /// In the clear.
    #[track_caller]
    pub fn plain(address: SocketAddr) -> Self {
        Self(Transport::Plain(tcp(address)))
    }

    /// Sends all of it, unless the other side has closed: it may refuse before it has heard all.
    pub fn send(&mut self, bytes: &[u8]) {
        drop(match &mut self.0 {
            Transport::Tls(tls) => tls.write_all(bytes),
            Transport::Plain(tcp) => tcp.write_all(bytes),
        });
    }

    /// Reads what comes next; nothing at the end.
    #[track_caller]
    pub fn read_some(&mut self) -> Vec<u8> {
        let mut bytes = vec![0; 64 << 10];
        let read = match &mut self.0 {
            Transport::Tls(tls) => tls.read(&mut bytes),
            Transport::Plain(tcp) => tcp.read(&mut bytes),
        };
        match read {
            Ok(read) => bytes.truncate(read),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("nothing came and the connection stayed open")
            }
            // Cut off without the end of TLS: an end all the same.
            Err(_) => bytes.clear(),
        }
        bytes
    }

    /// Ends its own side only.
    pub fn end(&mut self) {
        match &mut self.0 {
            Transport::Tls(tls) => drop(tls.shutdown()),
            Transport::Plain(tcp) => drop(tcp.shutdown(std::net::Shutdown::Write)),
        }
    }

    /// Ends as a program does that is killed in the middle (TCP RST).
    pub fn break_off(self) {
        let tcp = match &self.0 {
            Transport::Tls(tls) => tls.get_ref(),
            Transport::Plain(tcp) => tcp,
        };
        let socket = socket2::SockRef::from(tcp);
        socket.set_linger(Some(std::time::Duration::ZERO)).unwrap();
    }

    /// Reads until the other side closes.
    #[track_caller]
    pub fn read_to_end(&mut self) -> String {
        let mut all = Vec::new();
        loop {
            let some = self.read_some();
            if some.is_empty() {
                return String::from_utf8_lossy(&all).into_owned();
            }
            all.extend_from_slice(&some);
        }
    }

    /// Reads until `end` has come; all that came.
    #[track_caller]
    pub fn read_until(&mut self, end: &str) -> String {
        let mut all = String::new();
        while !all.contains(end) {
            let some = self.read_some();
            assert!(!some.is_empty(), "closed before {end:?} came: {all:?}");
            all.push_str(&String::from_utf8_lossy(&some));
        }
        all
    }

    /// Reads one answer with a Content-Length.
    #[track_caller]
    pub fn read_answer(&mut self) -> String {
        let mut all = self.read_until("\r\n\r\n");
        let (head, _) = all.split_once("\r\n\r\n").unwrap();
        let length: usize = fields(head)
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .map_or(0, |(_, value)| value.parse().unwrap());
        let whole = head.len() + 4 + length;
        while all.len() < whole {
            let some = self.read_some();
            assert!(!some.is_empty(), "cut short: {all:?}");
            all.push_str(&String::from_utf8_lossy(&some));
        }
        all
    }
}

/// A TCP connection that keeps no test waiting for ever.
pub fn tcp(address: SocketAddr) -> TcpStream {
    let tcp = TcpStream::connect(address).unwrap();
    tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    tcp.set_write_timeout(Some(PATIENCE)).unwrap();
    tcp.set_nodelay(true).unwrap();
    tcp
}

/// The status of an answer given as text; 0 where there is none.
pub fn status_of(answer: &str) -> u16 {
    answer
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3)?.parse().ok())
        .unwrap_or(0)
}
