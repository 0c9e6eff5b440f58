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
        pki.key("int", Key::Ecdsa);
        pki.write("int.ext", &format!("authorityKeyIdentifier=keyid\n{ca}"));
        pki.request("int", "Test Intermediate");
        pki.openssl(
            "x509 -req -in int.csr -CA root.crt -CAkey root.key -days 30 -extfile int.ext -out int.crt",
        );
        pki
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
