//! Certificates as operators have them, made with the real openssl.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// The kind of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    Ecdsa,
    Rsa,
}

/// What a client's certificate says.
#[derive(Clone, Copy, Debug)]
pub struct Client<'c> {
    /// As openssl's `-subj` takes it.
    pub subject: &'c str,
    /// `root`, `int`, or empty for one that is self-signed.
    pub issuer: &'c str,
    /// As in `subjectAltName`.
    pub names: &'c str,
    /// As in `extendedKeyUsage`.
    pub usage: &'c str,
    /// The first and the last moment; the default is about now.
    pub dates: (&'c str, &'c str),
}

/// A time that is over, and one that has not come.
pub const PAST: &str = "20210101000000Z";
pub const FUTURE: &str = "20480101000000Z";

impl Default for Client<'_> {
    fn default() -> Self {
        Self {
            subject: "/CN=client",
            issuer: "int",
            names: "",
            usage: "clientAuth",
            dates: ("", ""),
        }
    }
}

/// A root, an intermediate, and what the latter issues, in a folder of the test's own.
pub struct Pki {
    folder: TempDir,
}

impl Pki {
    #[track_caller]
    pub fn new() -> Self {
        let pki = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        let ca = "basicConstraints=critical,CA:true\nkeyUsage=critical,keyCertSign,cRLSign\n";
        pki.key("root", Key::Ecdsa);
        pki.write("root.ext", &format!("subjectKeyIdentifier=hash\n{ca}"));
        pki.request("root", "Test Root");
        pki.openssl(
            "x509 -req -in root.csr -key root.key -days 30 -extfile root.ext -out root.crt",
        );
        pki.sub_ca("int", "Test Intermediate");
        pki
    }

    /// Makes `FILE.key` and `FILE.crt`, an intermediate that the root has issued.
    #[track_caller]
    pub fn sub_ca(&self, file: &str, common_name: &str) {
        self.key(file, Key::Ecdsa);
        let ca = "basicConstraints=critical,CA:true\nkeyUsage=critical,keyCertSign,cRLSign\n";
        self.write(
            &format!("{file}.ext"),
            &format!("authorityKeyIdentifier=keyid\n{ca}"),
        );
        self.request(file, common_name);
        self.openssl(&format!(
            "x509 -req -in {file}.csr -CA root.crt -CAkey root.key -days 30 -extfile {file}.ext \
             -out {file}.crt"
        ));
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// Puts a file in the place of another, as an editor does: nobody reads half of it.
    pub fn replace(&self, name: &str, text: &str) {
        let new = format!("{name}.new");
        self.write(&new, text);
        std::fs::rename(self.path(&new), self.path(name)).unwrap();
    }

    /// Several files one after the other in one.
    pub fn join(&self, names: &[&str], into: &str) {
        let text: String = names.iter().map(|name| self.read(name)).collect();
        self.write(into, &text);
    }

    /// Makes `FILE.key`.
    #[track_caller]
    pub fn key(&self, file: &str, key: Key) {
        let kind = match key {
            Key::Ecdsa => "EC -pkeyopt ec_paramgen_curve:P-256",
            Key::Rsa => "RSA -pkeyopt rsa_keygen_bits:2048",
        };
        self.openssl(&format!("genpkey -algorithm {kind} -out {file}.key"));
    }

    #[track_caller]
    fn request(&self, file: &str, common_name: &str) {
        let mut command = Command::new("openssl");
        command.args(["req", "-new", "-key", &format!("{file}.key")]);
        command.args(["-subj", &format!("/CN={common_name}"), "-out"]);
        self.run(command.arg(format!("{file}.csr")));
    }

    /// Makes `FILE.key`, and `FILE.crt` for these DNS names, issued by the intermediate.
    #[track_caller]
    pub fn leaf(&self, file: &str, key: Key, names: &[&str]) {
        self.leaf_for_days(file, key, names, 10);
    }

    /// The same, so many days from now. Less than none: it has expired.
    #[track_caller]
    pub fn leaf_for_days(&self, file: &str, key: Key, names: &[&str], days: i32) {
        self.key(file, key);
        self.request(file, names[0]);
        let names: Vec<_> = names.iter().map(|name| format!("DNS:{name}")).collect();
        let names = names.join(",");
        self.write(
            &format!("{file}.ext"),
            &format!("subjectAltName={names}\nextendedKeyUsage=serverAuth\n"),
        );
        if days < 0 {
            return self.expired(file);
        }
        self.openssl(&format!(
            "x509 -req -in {file}.csr -CA int.crt -CAkey int.key -days {days} \
             -extfile {file}.ext -out {file}.crt"
        ));
    }

    /// Only `openssl ca` gives a certificate an end in the past.
    #[track_caller]
    fn expired(&self, file: &str) {
        self.write("index.txt", "");
        self.write("serial", "1000\n");
        self.write(
            "ca.cnf",
            "[ca]\ndefault_ca=d\n[d]\ndatabase=index.txt\nserial=serial\nnew_certs_dir=.\n\
             default_md=sha256\npolicy=p\n[p]\ncommonName=supplied\n",
        );
        self.openssl(&format!(
            "ca -batch -notext -config ca.cnf -cert int.crt -keyfile int.key -in {file}.csr \
             -startdate 20200101000000Z -enddate 20200201000000Z -extfile {file}.ext -out {file}.crt"
        ));
    }

    // === Clients ===

    /// Makes `FILE.key` and `FILE.crt` as `client` says, and `FILE.pem` with both and the
    /// intermediate, as curl wants them.
    #[track_caller]
    pub fn client(&self, file: &str, client: &Client<'_>) {
        self.key(file, Key::Ecdsa);
        let mut request = Command::new("openssl");
        request.args(["req", "-new", "-utf8", "-multivalue-rdn"]);
        request.args(["-key", &format!("{file}.key"), "-subj", client.subject]);
        self.run(request.args(["-out", &format!("{file}.csr")]));
        let mut extensions = format!("extendedKeyUsage={}\n", client.usage);
        if !client.names.is_empty() {
            extensions += &format!("subjectAltName={}\n", client.names);
        }
        self.write(&format!("{file}.ext"), &extensions);
        let files = format!("-in {file}.csr -extfile {file}.ext -out {file}.crt");
        let (from, until) = client.dates;
        let dates = format!("-startdate {from} -enddate {until}");
        match (client.issuer, client.dates == Client::default().dates) {
            // Only `openssl ca` takes dates, but parts of a subject with several values it tears
            // apart.
            ("", true) => {
                drop(self.openssl(&format!("x509 -req -days 30 -signkey {file}.key {files}")))
            }
            (issuer, true) => drop(self.openssl(&format!(
                "x509 -req -days 30 -CA {issuer}.crt -CAkey {issuer}.key {files}"
            ))),
            ("", false) => self.ca(file, &format!("-selfsign {dates} {files}")),
            (issuer, false) => self.ca(issuer, &format!("{dates} {files}")),
        }
        let chain = match client.issuer {
            "int" => vec![
                format!("{file}.crt"),
                format!("{file}.key"),
                "int.crt".into(),
            ],
            _ => vec![format!("{file}.crt"), format!("{file}.key")],
        };
        let chain: Vec<_> = chain.iter().map(String::as_str).collect();
        self.join(&chain, &format!("{file}.pem"));
    }

    /// Notes that `issuer` takes the certificate `FILE.crt` back. The next list will have it.
    #[track_caller]
    pub fn revoke(&self, issuer: &str, file: &str) {
        self.ca(issuer, &format!("-revoke {file}.crt"));
    }

    /// Makes `FILE`, the revocation list of `issuer`, good until that time.
    #[track_caller]
    pub fn crl(&self, issuer: &str, until: &str, file: &str) {
        self.ca(
            issuer,
            &format!("-gencrl -crl_lastupdate 20200101000000Z -crl_nextupdate {until} -out {file}"),
        );
    }

    /// `openssl ca` with a database for each issuer; it alone takes dates of all kinds.
    #[track_caller]
    fn ca(&self, issuer: &str, arguments: &str) {
        let config = format!("{issuer}.cnf");
        if !self.path(&config).exists() {
            for (file, text) in [("index", ""), ("serial", "10\n"), ("number", "10\n")] {
                self.write(&format!("{issuer}.{file}"), text);
            }
            let any = ["C", "O", "OU", "CN", "L", "ST", "UID", "DC", "serialNumber"];
            let any: String = any.iter().map(|it| format!("{it}=optional\n")).collect();
            self.write(
                &config,
                &format!(
                    "[ca]\ndefault_ca=d\n[d]\ndatabase={issuer}.index\nserial={issuer}.serial\n\
                     crlnumber={issuer}.number\nnew_certs_dir=.\ndefault_md=sha256\n\
                     unique_subject=no\npreserve=yes\npolicy=p\n[p]\n{any}"
                ),
            );
        }
        self.openssl(&format!(
            "ca -batch -notext -utf8 -config {config} -cert {issuer}.crt -keyfile {issuer}.key {arguments}"
        ));
    }

    /// Runs openssl in the folder; words are split at spaces.
    #[track_caller]
    pub fn openssl(&self, arguments: &str) -> Output {
        let mut command = Command::new("openssl");
        self.run(command.args(arguments.split_whitespace()))
    }

    /// Runs Java's keytool in the folder; words are split at spaces.
    #[track_caller]
    pub fn keytool(&self, arguments: &str) -> Output {
        let mut command = Command::new("keytool");
        self.run(command.args(arguments.split_whitespace()))
    }

    #[track_caller]
    fn run(&self, command: &mut Command) -> Output {
        let output = command.current_dir(self.folder()).output().unwrap();
        assert!(output.status.success(), "{command:?}: {output:?}");
        output
    }
}
