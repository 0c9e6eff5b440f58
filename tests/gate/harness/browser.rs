//! A real browser: Debian's Chromium, driven over WebDriver by a client that is just large enough.
//! (The crates for that bring an HTTP client and TLS stacks of their own.)

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::client::tcp;
use super::gate::certificate;
use super::process::Process;
use super::{PATIENCE, eventually};

/// One at a time: each takes both cores of a small machine.
static TURN: Mutex<()> = Mutex::new(());

/// How WebDriver writes an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

pub const TAB: &str = "\u{e004}";
pub const ENTER: &str = "\u{e007}";
pub const SPACE: &str = " ";

/// Where people keep what a browser remembers.
pub struct Profile(TempDir);

impl Profile {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
}

/// A running browser; ends with the test.
pub struct Browser<'p> {
    driver: Driver,
    session: String,
    _profile: &'p Profile,
    _turn: MutexGuard<'static, ()>,
}

struct Driver {
    address: SocketAddr,
    process: Process,
}

/// An element of the page that is shown.
pub struct Element<'b> {
    browser: &'b Browser<'b>,
    path: String,
}

impl<'p> Browser<'p> {
    /// Starts one that has the certificate of [`certificate`] in its list of good ones and finds no
    /// host but this machine.
    #[track_caller]
    pub fn start(profile: &'p Profile) -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let driver = Driver::start();
        let folder = profile.0.path().display();
        let args = [
            "--headless=new".to_owned(),
            // It shows nothing but our own pages, and neither root nor containers have its sandbox.
            "--no-sandbox".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            "--disable-gpu".to_owned(),
            "--disable-background-networking".to_owned(),
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1"
                .to_owned(),
            format!("--user-data-dir={folder}"),
            format!("--ignore-certificate-errors-spki-list={}", key_digest()),
        ];
        let capabilities = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": {"args": args, "perfLoggingPrefs": {"enableNetwork": true}},
            "goog:loggingPrefs": {"performance": "ALL", "browser": "ALL"},
            "timeouts": {"pageLoad": 20_000, "script": 20_000},
        }}});
        let begun = driver.ask("POST", "/session", &capabilities);
        let session = begun["sessionId"].as_str().unwrap().to_owned();
        Self {
            driver,
            session,
            _profile: profile,
            _turn: turn,
        }
    }

    #[track_caller]
    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let path = format!("/session/{}{path}", self.session);
        self.driver.ask(method, &path, body)
    }

    // --- What a person does ---

    #[track_caller]
    pub fn open(&self, url: &str) {
        self.ask("POST", "/url", &json!({"url": url}));
    }

    #[track_caller]
    pub fn back(&self) {
        self.ask("POST", "/back", &json!({}));
    }

    /// Types into whatever has the focus.
    #[track_caller]
    pub fn press(&self, keys: &str) {
        let key = |key: char| {
            let key = key.to_string();
            [("keyDown", &key), ("keyUp", &key)]
                .map(|(kind, key)| json!({"type": kind, "value": key}))
        };
        let actions: Vec<Value> = keys.chars().flat_map(key).collect();
        let keyboard = json!({"type": "key", "id": "keyboard", "actions": actions});
        self.ask("POST", "/actions", &json!({"actions": [keyboard]}));
    }

    /// The first element that fits a CSS selector, once it is there.
    #[track_caller]
    pub fn find(&self, selector: &str) -> Element<'_> {
        let wanted = json!({"using": "css selector", "value": selector});
        let found = eventually(selector, || {
            let all = self.ask("POST", "/elements", &wanted);
            all[0][ELEMENT].as_str().map(str::to_owned)
        });
        Element {
            browser: self,
            path: format!("/element/{found}"),
        }
    }

    // --- What a person sees ---

    #[track_caller]
    pub fn url(&self) -> String {
        self.ask("GET", "/url", &Value::Null)
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// The words of the page.
    #[track_caller]
    pub fn text(&self) -> String {
        let text = self.run("return document.body.innerText");
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until the page says `words`.
    #[track_caller]
    pub fn await_text(&self, words: &str) {
        let what = format!("the page says {words:?}");
        eventually(&what, || self.text().contains(words).then_some(()));
    }

    /// Waits until the element with this id has the focus.
    #[track_caller]
    pub fn await_focus(&self, id: &str) {
        let focused = || self.run("return document.activeElement.id");
        eventually(id, || (focused() == id).then_some(()));
    }

    /// What a function body in the page's language returns.
    #[track_caller]
    pub fn run(&self, script: &str) -> Value {
        let script = json!({"script": script, "args": []});
        self.ask("POST", "/execute/sync", &script)
    }

    /// The browser's own cookie of that name, with its attributes.
    #[track_caller]
    pub fn cookie(&self, name: &str) -> Option<Value> {
        let all = self.ask("GET", "/cookie", &Value::Null);
        let mut all = all.as_array().unwrap().iter();
        all.find(|cookie| cookie["name"] == name).cloned()
    }

    /// Goes on within the first frame of the page.
    #[track_caller]
    pub fn enter_frame(&self) {
        self.ask("POST", "/frame", &json!({"id": 0}));
    }

    /// What the browser has refused to load or run since this was asked last, in its own words.
    #[track_caller]
    pub fn refused(&self) -> Vec<String> {
        let log = self.ask("POST", "/se/log", &json!({"type": "browser"}));
        let messages = log.as_array().unwrap().iter().map(|it| &it["message"]);
        let messages = messages.map(|it| it.as_str().unwrap().to_owned());
        messages
            .filter(|it| it.contains("Content Security Policy"))
            .collect()
    }

    /// The URLs of all requests since this was asked last.
    #[track_caller]
    pub fn requests(&self) -> Vec<String> {
        let log = self.ask("POST", "/se/log", &json!({"type": "performance"}));
        let entries = log.as_array().unwrap().iter();
        let messages = entries.map(|entry| {
            let message: Value = serde_json::from_str(entry["message"].as_str().unwrap()).unwrap();
            message["message"].clone()
        });
        let sent = messages.filter(|it| it["method"] == "Network.requestWillBeSent");
        let urls = sent.map(|it| it["params"]["request"]["url"].as_str().unwrap().to_owned());
        urls.collect()
    }

    // --- What kind of device it is ---

    #[track_caller]
    fn devtools(&self, command: &str, params: Value) -> Value {
        let body = json!({"cmd": command, "params": params});
        self.ask("POST", "/goog/cdp/execute", &body)
    }

    /// Whether its user prefers `light` or `dark`.
    #[track_caller]
    pub fn prefer(&self, scheme: &str) {
        let feature = json!({"name": "prefers-color-scheme", "value": scheme});
        self.devtools("Emulation.setEmulatedMedia", json!({"features": [feature]}));
    }

    /// How many CSS pixels it shows.
    #[track_caller]
    pub fn size(&self, width: u32, height: u32) {
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.devtools("Emulation.setDeviceMetricsOverride", metrics);
    }

    /// Which languages its user reads, as `Accept-Language` has it.
    #[track_caller]
    pub fn reads(&self, languages: &str) {
        let agent = self.run("return navigator.userAgent");
        let languages = json!({"userAgent": agent, "acceptLanguage": languages});
        self.devtools("Emulation.setUserAgentOverride", languages);
    }

    /// A picture of the page for whoever wants to look: a PNG in the folder that
    /// `PORTCULLIS_SCREENSHOTS` names, where it is set.
    #[track_caller]
    pub fn picture(&self, name: &str) {
        let Some(folder) = std::env::var_os("PORTCULLIS_SCREENSHOTS") else {
            return;
        };
        let picture = self.ask("GET", "/screenshot", &Value::Null);
        let bytes = STANDARD.decode(picture.as_str().unwrap()).unwrap();
        std::fs::write(Path::new(&folder).join(format!("{name}.png")), bytes).unwrap();
    }
}

impl Drop for Browser<'_> {
    fn drop(&mut self) {
        // It closes its files, so that the next one finds what it has kept.
        let path = format!("/session/{}", self.session);
        drop(self.driver.try_ask("DELETE", &path, &Value::Null));
    }
}

impl Element<'_> {
    #[track_caller]
    pub fn click(&self) {
        let path = format!("{}/click", self.path);
        self.browser.ask("POST", &path, &json!({}));
    }

    /// Clicks on what leads to another page, and waits until the browser is there.
    #[track_caller]
    pub fn follow(&self) {
        self.browser.run("window.isOld = true");
        self.click();
        let arrived = "return !window.isOld && document.readyState === 'complete'";
        eventually("another page", || {
            (self.browser.run(arrived) == true).then_some(())
        });
    }

    #[track_caller]
    pub fn write(&self, text: &str) {
        let path = format!("{}/value", self.path);
        self.browser.ask("POST", &path, &json!({"text": text}));
    }

    /// What a screen reader calls it.
    #[track_caller]
    pub fn spoken(&self) -> (String, String) {
        let ask = |what| {
            let path = format!("{}/{what}", self.path);
            let answer = self.browser.ask("GET", &path, &Value::Null);
            answer.as_str().unwrap().to_owned()
        };
        (ask("computedrole"), ask("computedlabel"))
    }
}

impl Driver {
    #[track_caller]
    fn start() -> Self {
        // It takes a port that it finds free for the one version of IP, and ends where somebody else
        // has that for the other one.
        (0..10)
            .find_map(|_| Self::try_start())
            .expect("chromedriver finds a port")
    }

    #[track_caller]
    fn try_start() -> Option<Self> {
        // Should the test be killed, neither it nor the browser stays for ever.
        let mut command = Command::new("timeout");
        command.args(["--kill-after=5", "120", "chromedriver", "--port=0"]);
        let mut process = Process::start(command, "");
        let port = eventually("chromedriver says its port", || {
            let is_running = process.is_running();
            let said = process.out();
            let rest = said.split_once("started successfully on port ");
            let port = rest.and_then(|(_, rest)| rest.split_once('.')?.0.parse::<u16>().ok());
            (port.is_some() || !is_running).then_some(port)
        })?;
        Some(Self {
            address: ([127, 0, 0, 1], port).into(),
            process,
        })
    }

    #[track_caller]
    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let answer = self.try_ask(method, path, body);
        let value = answer.unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        assert!(value["error"].is_null(), "{method} {path} {body}: {value}");
        value
    }

    fn try_ask(&self, method: &str, path: &str, body: &Value) -> std::io::Result<Value> {
        let body = match body {
            Value::Null => String::new(),
            body => body.to_string(),
        };
        let mut stream = tcp(self.address);
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        )?;
        let mut reader = BufReader::new(stream);
        let (mut line, mut length) = (String::new(), 0);
        while reader.read_line(&mut line)? > 2 {
            let lower = line.to_ascii_lowercase();
            if let Some(value) = lower.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
            line.clear();
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let answer: Value = serde_json::from_slice(&body)?;
        Ok(answer["value"].clone())
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // `timeout` passes it on, and ends after it.
        self.process.signal("TERM");
        let deadline = Instant::now() + PATIENCE;
        while self.process.is_running() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// The digest of the public key of [`certificate`], as Chromium takes it.
#[track_caller]
fn key_digest() -> String {
    let (certificate, _) = certificate();
    let pem = std::fs::read(certificate).unwrap();
    let key = boring::x509::X509::from_pem(&pem).unwrap().public_key();
    let key = key.unwrap().public_key_to_der().unwrap();
    STANDARD.encode(Sha256::digest(key))
}
