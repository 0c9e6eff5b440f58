//! Backends that were not made for the place they have behind the gate: prefixes of paths, headers,
//! redirects and cookies. A route that changes nothing stands beside each that does.

use std::io::Write as _;
use std::net::SocketAddr;

use crate::harness::backend::{Backend, Recorded};
use crate::harness::client::Got;
use crate::harness::gate::{Gate, certificate};
use crate::harness::nginx::Nginx;

/// Answers with the fields that the request's `X-Say` asks for, `|` between them; `{me}` in it is
/// its own address.
fn obedient() -> Backend {
    Backend::answering(|request, stream| {
        let me = stream.local_addr().unwrap().to_string();
        let say = request.field("x-say").unwrap_or_default();
        let say = say.replace("{me}", &me).replace('|', "\r\n");
        let more = if say.is_empty() { "" } else { "\r\n" };
        let answer = format!("HTTP/1.1 201 Created\r\nContent-Length: 0\r\n{say}{more}\r\n");
        stream.write_all(answer.as_bytes()).is_ok()
    })
}

fn config(backend: SocketAddr, routes: &str) -> String {
    let (cert, key) = certificate();
    format!(
        "listeners: [{{address: '127.0.0.1:0'}}]\nupstreams: {{ui: {{url: 'http://{backend}'}}}}\n\
         tls: {{certificates: [{{cert: {}, key: {}}}]}}\nroutes:\n{routes}  - {{public: true}}\n",
        cert.display(),
        key.display()
    )
}

/// A gate and the backend that says what it is told to.
struct Pair {
    gate: Gate,
    backend: Backend,
}

impl Pair {
    #[track_caller]
    fn start(routes: &str) -> Self {
        let backend = obedient();
        let gate = Gate::start(&config(backend.address, routes));
        Self { gate, backend }
    }

    fn get(&self, path: &str, say: &str) -> Got {
        self.backend.forget();
        let say = format!("X-Say: {say}");
        self.gate.curl().header(&say).get(path)
    }

    /// What the backend was asked for.
    #[track_caller]
    fn asked(&self, path: &str) -> Recorded {
        let got = self.get(path, "");
        assert_eq!(got.status, 201, "{path}: {got:?}");
        self.backend.only()
    }

    #[track_caller]
    fn says(&self, path: &str, say: &str, name: &str) -> Option<String> {
        let got = self.get(path, say);
        assert_eq!(got.status, 201, "{path}: {got:?}");
        got.field(name).map(str::to_owned)
    }

    fn origin(&self) -> String {
        format!("https://localhost:{}", self.gate.port())
    }
}

#[test]
fn a_prefix_is_taken_off_what_the_backend_gets_and_another_put_on() {
    let pair = Pair::start(
        "  - {match: /app/, public: true, strip_prefix: /app}\n\
         \x20 - {match: /old/, public: true, strip_prefix: /old, add_prefix: /v1}\n\
         \x20 - {match: \"/units/{unit}/\", public: true, strip_prefix: \"/units/{unit}\"}\n",
    );
    for (asked, arrived, prefix) in [
        ("/app/a%20b?c=/app/", "/a%20b?c=/app/", Some("/app")),
        ("/app", "/", Some("/app")),
        ("/%61pp/x", "/x", Some("/%61pp")),
        ("/old/x", "/v1/x", Some("/old")),
        ("/units/7/x", "/x", Some("/units/7")),
        ("/apple", "/apple", None),
        ("/", "/", None),
    ] {
        let request = pair.asked(asked);
        assert_eq!(request.path(), arrived, "{asked}");
        assert_eq!(request.field("x-forwarded-prefix"), prefix, "{asked}");
    }
    let got = pair.get("/app//evil.example/", "");
    assert_eq!((got.status, pair.backend.seen().len()), (400, 0), "{got:?}");
}

#[test]
fn a_redirect_to_the_backend_leads_to_the_gate_and_one_elsewhere_does_not() {
    let pair = Pair::start(
        "  - {match: /app/, public: true, strip_prefix: /app, backend_origins: ['http://plc.local']}\n\
         \x20 - {match: /raw/, public: true, rewrite_redirects: false}\n",
    );
    let origin = pair.origin();
    let authority = origin.trim_start_matches("https://").to_owned();
    for (path, say, expected) in [
        ("/x", "http://{me}/y?z", format!("{origin}/y?z")),
        (
            "/x",
            &format!("http://{authority}/y"),
            format!("{origin}/y"),
        ),
        (
            "/x",
            "http://evil.example/y",
            "http://evil.example/y".into(),
        ),
        ("/x", "/y", "/y".into()),
        ("/app/x", "http://{me}/y", format!("{origin}/app/y")),
        ("/app/x", "http://plc.local/y", format!("{origin}/app/y")),
        ("/app/x", "/y", "/app/y".into()),
        ("/app/x", "/app/y", "/app/y".into()),
        ("/app/x", "y", "y".into()),
        ("/app/x", "//evil.example/", "//evil.example/".into()),
        ("/raw/x", "/y", "/y".into()),
    ] {
        for name in ["Location", "Content-Location"] {
            let got = pair.says(path, &format!("{name}: {say}"), name);
            assert_eq!(got, Some(expected.clone()), "{path} {name}: {say}");
        }
        let got = pair.says(path, &format!("Refresh: 3;url={say}"), "Refresh");
        assert_eq!(got, Some(format!("3;url={expected}")), "{path} {say}");
    }
    let raw = pair.says("/raw/x", "Location: http://{me}/y", "Location");
    assert_eq!(raw, Some(format!("http://{}/y", pair.backend.address)));
}

#[test]
fn an_unmodified_nginx_below_a_prefix_redirects_to_where_the_client_sees_it() {
    let nginx = Nginx::start();
    nginx.write("folder/index.html", b"inside");
    let routes = "  - {match: /app/, public: true, strip_prefix: /app}\n";
    let gate = Gate::start(&config(nginx.address, routes));
    let got = gate.curl().get("/app/folder");
    assert_eq!(got.status, 301, "{got:?}");
    let location = got.field("location").unwrap();
    assert!(location.starts_with("https://localhost:"), "{location}");
    assert!(location.ends_with("/app/folder/"), "{location}");
    let followed = gate.curl().get("/app/folder/");
    assert_eq!((followed.status, &*followed.body), (200, "inside"));
}

#[test]
fn headers_of_requests_are_set_added_and_removed_in_every_spelling() {
    let pair = Pair::start(
        "  - match: /edited/\n    public: true\n    request_headers:\n      \
         set: {X-Env: prod, Host: plc.local, Accept-Language: [de, en]}\n      \
         add: {X-Via: gate}\n      remove: [X-Debug, Cookie]\n",
    );
    let send = |path: &str| {
        pair.backend.forget();
        let fields = [
            "X-Env: mine",
            "X_Env: mine",
            "x-via: mine",
            "X-DEBUG: 1",
            "x_debug: 1",
            "Cookie: a=b",
            "Accept-Language: fr",
            "Connection: X-Via",
        ];
        let fields: Vec<_> = fields.iter().flat_map(|field| ["-H", *field]).collect();
        let curl = pair.gate.curl().args(["--http1.1"]).args(fields);
        assert_eq!(curl.get(path).status, 201);
        pair.backend.only()
    };
    let edited = send("/edited/x");
    assert_eq!(edited.all("x-env"), ["prod"]);
    assert_eq!(edited.all("x_env"), [""; 0]);
    // What a client says in Connection takes away its own copy, not ours.
    assert_eq!(edited.all("x-via"), ["gate"]);
    assert_eq!(edited.all("x-debug"), [""; 0]);
    assert_eq!(edited.all("x_debug"), [""; 0]);
    assert_eq!(edited.all("cookie"), [""; 0]);
    assert_eq!(edited.all("accept-language"), ["de", "en"]);
    assert_eq!(edited.all("host"), ["plc.local"]);
    let host = format!("localhost:{}", pair.gate.port());
    assert_eq!(edited.all("x-forwarded-host"), [&*host]);
    let plain = send("/x");
    assert_eq!(plain.all("x-env"), ["mine"]);
    assert_eq!(plain.all("x-debug"), ["1"]);
    assert_eq!(plain.all("cookie"), ["a=b"]);
    assert_eq!(plain.all("host"), [&*host]);
}

#[test]
fn headers_of_answers_are_set_added_and_removed_over_both_versions() {
    let pair = Pair::start(
        "  - match: /edited/\n    public: true\n    response_headers:\n      \
         set: {X-Frame-Options: DENY}\n      add: {Link: '</a>; rel=b'}\n      \
         remove: [Server, Set-Cookie]\n",
    );
    let say =
        "X-Say: X-Frame-Options: ALLOWALL|Server: Old/1.0|Link: <c>|Set-Cookie: a=b|X-Kept: 1";
    for version in ["--http1.1", "--http2"] {
        let got = |path: &str| pair.gate.curl().args([version, "-H", say]).get(path);
        let edited = got("/edited/x");
        assert_eq!(edited.status, 201, "{edited:?}");
        assert_eq!(edited.all("x-frame-options"), ["DENY"]);
        assert_eq!(edited.all("server"), [""; 0]);
        assert_eq!(edited.all("link"), ["<c>", "</a>; rel=b"]);
        assert_eq!(edited.all("set-cookie"), [""; 0]);
        assert_eq!(edited.all("x-kept"), ["1"]);
        let plain = got("/x");
        assert_eq!(plain.all("x-frame-options"), ["ALLOWALL"]);
        assert_eq!(plain.all("server"), ["Old/1.0"]);
        assert_eq!(plain.all("set-cookie"), ["a=b"]);
    }
    // Pages of our own are not the backend's answers.
    let refused = pair.gate.curl().get("/edited//x");
    assert_eq!((refused.status, refused.field("link")), (400, None));
}

#[test]
fn cookies_get_what_they_lack_and_the_path_that_the_client_sees() {
    let pair = Pair::start(
        "  - match: /app/\n    public: true\n    strip_prefix: /app\n    \
         cookies: {secure: true, http_only: true, same_site: lax, domain: remove, except: [xsrf]}\n\
         \x20 - {match: /bare/, public: true, strip_prefix: /bare}\n",
    );
    let set = |path: &str, cookie: &str| {
        let say = format!("Set-Cookie: {cookie}");
        pair.says(path, &say, "Set-Cookie").unwrap()
    };
    let cookie = "a=b; Path=/; Domain=plc.local";
    let expected = "a=b; Path=/app/; Secure; HttpOnly; SameSite=Lax";
    assert_eq!(set("/app/x", cookie), expected);
    assert_eq!(set("/app/x", "xsrf=b; Path=/"), "xsrf=b; Path=/");
    assert_eq!(set("/bare/x", cookie), "a=b; Path=/bare/; Domain=plc.local");
    assert_eq!(set("/x", cookie), cookie);
    // Ours cannot be set, whatever is changed.
    let ours = pair.says(
        "/app/x",
        "Set-Cookie: __Host-portcullis=x; Path=/",
        "Set-Cookie",
    );
    assert_eq!(ours, None);
}
