//! What people see: a real browser at each station from the first visit to the last, and the same
//! stations for programs.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tempfile::TempDir;

use crate::harness::backend::{Backend, Recorded};
use crate::harness::browser::{Browser, ENTER, Profile, SPACE, TAB};
use crate::harness::client::Got;
use crate::harness::eventually;
use crate::harness::gate::{self, Gate, PASSWORD, in_front_of};
use crate::harness::process::{finished, portcullis};
use crate::harness::websocket::{accepted, frame, read_small};
use crate::streaming::Events;

/// The cookie of a session.
const COOKIE: &str = "__Host-portcullis";

/// A backend with a page at every path but `/broken`, which the browser may keep.
fn site() -> Backend {
    Backend::answering(|request, stream| {
        let path = request.path();
        if path == "/broken" {
            return false;
        }
        let page = format!(
            "<!doctype html><title>The backend</title><h1>Backend page {path}</h1>\
             <a id=next href=/next>Next</a>"
        );
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nCache-Control: private, max-age=600\r\n\
             Content-Length: {}\r\n\r\n{page}",
            page.len()
        );
        stream.write_all(answer.as_bytes()).is_ok()
    })
}

/// A page on another site.
fn elsewhere(page: String) -> Backend {
    Backend::answering(move |_, stream| {
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\r\n{page}",
            page.len()
        );
        stream.write_all(answer.as_bytes()).is_ok()
    })
}

impl Gate {
    fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.port())
    }
}

/// Fills in the form that is shown, as a person with a mouse does.
fn log_in(browser: &Browser<'_>, user: &str, password: &str) {
    browser.find("#username").write(user);
    browser.find("#password").write(password);
    browser.find("button").follow();
}

#[test]
fn a_person_logs_in_with_the_keyboard_alone_and_arrives_where_they_wanted() {
    let (backend, profile) = (site(), Profile::new());
    let gate = gate::with(backend.address, "sessions: {remember: 30d}\n");
    let browser = Browser::start(&profile);
    browser.open(&gate.url("/reports?year=2026"));
    browser.await_focus("username");
    browser.press(&format!("ralph{TAB}"));
    browser.await_focus("password");
    // To the box, which is ticked, and to the button.
    browser.press(&format!("{PASSWORD}{TAB}{SPACE}{TAB}{ENTER}"));
    browser.await_text("Backend page /reports?year=2026");
    assert_eq!(browser.url(), gate.url("/reports?year=2026"));

    let cookie = browser.cookie(COOKIE).unwrap();
    assert_eq!(cookie["httpOnly"], true);
    assert_eq!(cookie["secure"], true);
    assert_eq!(cookie["sameSite"], "Lax");
    assert_eq!(cookie["path"], "/");
    assert!(cookie["expiry"].is_number(), "{cookie}");
    assert_eq!(browser.run("return document.cookie"), "");

    browser.open(&gate.url("/auth/logout"));
    browser.press(ENTER);
    browser.await_text("You are logged out.");
}

#[test]
fn a_wrong_password_is_said_and_only_the_password_is_to_be_typed_again() {
    let (backend, profile) = (site(), Profile::new());
    let gate = in_front_of(backend.address);
    let browser = Browser::start(&profile);
    browser.open(&gate.url("/reports"));
    log_in(&browser, "ralph", "wrong");
    browser.await_text("Wrong user name or password.");
    browser.await_focus("password");
    let value = |id| browser.run(&format!("return document.getElementById('{id}').value"));
    assert_eq!(
        (value("username"), value("password")),
        ("ralph".into(), "".into())
    );
    assert_eq!(browser.find("#error").spoken().0, "alert");
    browser.press(&format!("{PASSWORD}{ENTER}"));
    browser.await_text("Backend page /reports");
}

#[test]
fn who_guesses_too_often_has_to_wait_and_gets_in_afterwards() {
    let (backend, profile) = (site(), Profile::new());
    let gate = in_front_of(backend.address);
    let browser = Browser::start(&profile);
    browser.open(&gate.url("/reports"));
    log_in(&browser, "ralph", "a guess");
    // The first wait is only a second: however slow this goes, it is met in the end.
    eventually("the page says how long to wait", || {
        log_in(&browser, "", "a guess");
        let text = browser.text();
        text.contains("Too many wrong passwords. Try again in")
            .then_some(())
    });
    assert_eq!(browser.find("#error").spoken().0, "alert");
    browser.picture("locked");
    eventually("the wait is over", || {
        log_in(&browser, "", PASSWORD);
        browser
            .text()
            .contains("Backend page /reports")
            .then_some(())
    });
}

#[test]
fn what_somebody_may_not_see_is_refused_on_a_page_and_the_rest_goes_on() {
    let (backend, profile) = (site(), Profile::new());
    let gate = in_front_of(backend.address);
    let browser = Browser::start(&profile);
    browser.open(&gate.url("/admin/"));
    log_in(&browser, "ralph", PASSWORD);
    browser.await_text("You are logged in as ralph, but you are not allowed");
    assert_eq!(browser.run(STATUS), 403);
    // The way on is to be somebody else, and to come back.
    browser.find("a").follow();
    log_in(&browser, "ada", PASSWORD);
    browser.await_text("Backend page /admin/");
    browser.open(&gate.url("/auth/logout"));
    browser.find("button").follow();
    browser.open(&gate.url("/auth/login"));
    log_in(&browser, "ralph", PASSWORD);
    browser.open(&gate.url("/reports"));
    browser.await_text("Backend page /reports");
    // A script in the page gets what a script can read.
    let asked = "return fetch('/admin/').then(async it => [it.status, (await it.json()).status])";
    assert_eq!(browser.run(asked), serde_json::json!([403, 403]));
    let seen = backend.seen();
    let mut askers = seen.iter().filter(|it| it.path() == "/admin/");
    let is_ada = |it: &Recorded| it.field("x-forwarded-user") == Some("ada");
    assert!(askers.all(is_ada), "{seen:?}");
}

#[test]
fn after_logging_out_the_back_button_shows_nothing() {
    let (backend, profile) = (site(), Profile::new());
    let gate = in_front_of(backend.address);
    let browser = Browser::start(&profile);
    browser.open(&gate.url("/reports"));
    log_in(&browser, "ralph", PASSWORD);
    browser.await_text("Backend page /reports");
    // While logged in, it shows what was there.
    browser.find("#next").follow();
    browser.await_text("Backend page /next");
    browser.back();
    browser.await_text("Backend page /reports");

    browser.open(&gate.url("/auth/logout"));
    browser.await_text("You are logged in as ralph.");
    browser.find("button").follow();
    browser.await_text("You are logged out.");
    assert_eq!(browser.cookie(COOKIE), None);
    for _ in 0..2 {
        browser.back();
        let text = browser.text();
        assert!(!text.contains("Backend page"), "{text}");
        assert!(!text.contains("ralph"), "{text}");
    }
    browser.open(&gate.url("/reports"));
    browser.await_text("User name");
}

#[test]
fn whose_session_an_administrator_ends_is_told_so_and_comes_back_to_where_they_were() {
    let (backend, profile) = (site(), Profile::new());
    let gate = Administered::in_front_of(&backend);
    let browser = Browser::start(&profile);
    browser.open(&gate.gate.url("/reports"));
    log_in(&browser, "ralph", PASSWORD);
    browser.await_text("Backend page /reports");
    gate.end_sessions_of("ralph");
    // A script is told in its own words.
    let asked = "return fetch('/data').then(async it => [it.status, (await it.json()).status])";
    assert_eq!(browser.run(asked), serde_json::json!([401, 401]));
    browser.find("#next").follow();
    browser.await_text("Your session has ended. Log in to go on.");
    assert_eq!(browser.find("p").spoken().0, "status");
    log_in(&browser, "ralph", PASSWORD);
    browser.await_text("Backend page /next");
}

// --- What lasts ---

/// A backend whose page opens a WebSocket and shows what comes of it.
fn talking() -> Backend {
    Backend::answering(|request, stream| {
        if request.field("upgrade").is_some() {
            stream.write_all(accepted(request).as_bytes()).unwrap();
            while let Some((opcode, payload)) = read_small(stream) {
                if stream.write_all(&frame(opcode, &payload)).is_err() {
                    break;
                }
            }
            return false;
        }
        let page = "<!doctype html><title>Live</title><h1>Live</h1><script>\
            const socket = new WebSocket(`wss://${location.host}/socket`);\
            const say = (text) => document.body.append(` [${text}] `);\
            socket.onopen = () => socket.send('hello');\
            socket.onmessage = (it) => say(`came back: ${it.data}`);\
            socket.onclose = (it) => say(`closed: ${it.code} ${it.reason}`);\
            </script>";
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\r\n{page}",
            page.len()
        );
        stream.write_all(answer.as_bytes()).is_ok()
    })
}

#[test]
fn a_page_that_came_over_http2_opens_a_websocket_and_hears_why_it_ends() {
    let (backend, profile) = (talking(), Profile::new());
    let mut gate = in_front_of(backend.address);
    let browser = Browser::start(&profile);
    let over = "return performance.getEntriesByType('navigation')[0].nextHopProtocol";
    browser.open(&gate.url("/live"));
    log_in(&browser, "ralph", PASSWORD);
    browser.await_text("[came back: hello]");
    assert_eq!(browser.run(over), "h2");
    let of_socket = |it: &Recorded| it.path() == "/socket";
    let socket = backend.seen().into_iter().find(of_socket).unwrap();
    assert_eq!(socket.field("x-forwarded-user"), Some("ralph"));
    assert_eq!(socket.field("cookie"), None);
    let session = browser.cookie(COOKIE).unwrap();
    assert_eq!(gate.log_out(session["value"].as_str().unwrap()).status, 200);
    browser.await_text("[closed: 1008 no longer permitted]");

    browser.open(&gate.url("/live"));
    log_in(&browser, "ralph", PASSWORD);
    browser.await_text("[came back: hello]");
    gate.signal("TERM");
    browser.await_text("[closed: 1001 shutting down]");
    assert_eq!(gate.wait().code(), Some(0));
}

#[test]
fn the_page_of_another_site_opens_no_websocket_as_whoever_is_logged_in() {
    let (backend, profile) = (talking(), Profile::new());
    let gate = in_front_of(backend.address);
    let browser = Browser::start(&profile);
    browser.open(&gate.url("/live"));
    log_in(&browser, "ralph", PASSWORD);
    browser.await_text("[came back: hello]");
    backend.forget();
    // Another port of the same host is the same site: the cookie goes along.
    let socket = gate.url("/socket").replace("https", "wss");
    let page = format!(
        "<h1>Elsewhere</h1><script>const socket = new WebSocket('{socket}');\
         socket.onopen = () => document.body.append('opened');\
         socket.onclose = () => document.body.append('refused');</script>"
    );
    let address = elsewhere(page).address;
    browser.open(&format!("http://localhost:{}/", address.port()));
    browser.await_text("refused");
    assert!(backend.seen().is_empty(), "{:?}", backend.seen());
}

#[test]
fn an_event_source_gets_each_event_until_its_session_ends() {
    let (events, profile) = (Events::start(), Profile::new());
    let gate = in_front_of(events.address);
    let browser = Browser::start(&profile);
    browser.open(&gate.url("/x/"));
    log_in(&browser, "ralph", PASSWORD);
    browser.await_text("A page");
    events.await_streams(1, 0);
    for number in 1..=3 {
        events.tell();
        browser.await_text(&format!("{number}: event {number}"));
    }
    let session = browser.cookie(COOKIE).unwrap();
    assert_eq!(gate.log_out(session["value"].as_str().unwrap()).status, 200);
    events.await_streams(1, 1);
    // It tries again, and hears that it may not.
    eventually("the browser gives up", || {
        (browser.run("return source.readyState") == 2).then_some(())
    });
}

// --- Other sites ---

#[test]
fn another_site_cannot_show_the_login_in_a_frame_and_can_show_what_is_public() {
    let (backend, profile) = (site(), Profile::new());
    let gate = in_front_of(backend.address);
    let browser = Browser::start(&profile);
    for (path, shown) in [("/auth/login", false), ("/public/", true)] {
        let page = format!("<iframe src=\"{}\"></iframe>", gate.url(path));
        browser.open(&format!("http://{}/", elsewhere(page).address));
        browser.enter_frame();
        let inside = browser.run("return location.href");
        assert_eq!(inside == gate.url(path), shown, "{path}: {inside}");
    }
}

#[test]
fn another_site_cannot_log_a_browser_in_and_our_own_page_can() {
    let (backend, profile) = (site(), Profile::new());
    let gate = in_front_of(backend.address);
    let browser = Browser::start(&profile);
    // The attacker's own account, so that what the victim does next is done there.
    let page = format!(
        "<form id=attack method=post action=\"{}\"><input name=username value=ada>\
         <input name=password value=\"{PASSWORD}\"></form><script>attack.submit()</script>",
        gate.url("/auth/login")
    );
    browser.open(&format!("http://{}/", elsewhere(page).address));
    browser.await_text("This form can only be sent from its own page.");
    assert_eq!(browser.cookie(COOKIE), None);
    browser.open(&gate.url("/auth/login"));
    log_in(&browser, "ada", PASSWORD);
    browser.await_text("Backend page /");
    assert!(browser.cookie(COOKIE).is_some());
}

#[test]
fn another_site_cannot_log_a_browser_out_and_a_login_leads_to_no_other_site() {
    let (backend, profile) = (site(), Profile::new());
    let gate = in_front_of(backend.address);
    let browser = Browser::start(&profile);
    let elsewhere = elsewhere(format!(
        "<form id=attack method=post action=\"{}\"></form><script>attack.submit()</script>",
        gate.url("/auth/logout")
    ));
    browser.open(&gate.url(&format!("/auth/login?rd=//{}/", elsewhere.address)));
    log_in(&browser, "ralph", PASSWORD);
    browser.await_text("Backend page /");
    assert_eq!(browser.url(), gate.url("/"));
    assert!(elsewhere.seen().is_empty());

    browser.open(&format!("http://{}/", elsewhere.address));
    browser.await_text("This form can only be sent from its own page.");
    browser.open(&gate.url("/reports"));
    browser.await_text("Backend page /reports");
}

#[test]
fn who_follows_a_link_from_another_site_stays_logged_in_unless_that_is_strict() {
    let backend = site();
    for (same_site, shown) in [("lax", "Backend page /reports"), ("strict", "User name")] {
        let profile = Profile::new();
        let sessions = format!("sessions: {{same_site: {same_site}}}\n");
        let gate = gate::with(backend.address, &sessions);
        let browser = Browser::start(&profile);
        browser.open(&gate.url("/reports"));
        log_in(&browser, "ralph", PASSWORD);
        browser.await_text("Backend page /reports");
        let link = format!("<a href=\"{}\">A link</a>", gate.url("/reports?linked"));
        browser.open(&format!("http://{}/", elsewhere(link).address));
        browser.find("a").follow();
        browser.await_text(shown);
        // Within the site, either goes on.
        browser.open(&gate.url("/reports"));
        browser.await_text("Backend page /reports");
    }
}

#[test]
fn who_wants_to_stay_logged_in_still_is_when_the_browser_starts_again() {
    let backend = site();
    let gate = gate::with(backend.address, "sessions: {remember: 30d}\n");
    for (stays, next) in [(false, "User name"), (true, "Backend page /later")] {
        let profile = Profile::new();
        let browser = Browser::start(&profile);
        browser.open(&gate.url("/reports"));
        browser.await_text("Stay logged in on this device");
        browser.find("#username").write("ralph");
        browser.find("#password").write(PASSWORD);
        if stays {
            // By its words too, as people do.
            browser.find(".choice").click();
        }
        browser.find("button").follow();
        browser.await_text("Backend page /reports");
        drop(browser);
        let browser = Browser::start(&profile);
        browser.open(&gate.url("/later"));
        browser.await_text(next);
    }
}

// --- For everybody ---

#[test]
fn password_managers_and_screen_readers_know_what_each_field_is() {
    let (backend, profile) = (site(), Profile::new());
    let gate = in_front_of(backend.address);
    let browser = Browser::start(&profile);
    browser.open(&gate.url("/"));
    let attribute = |id: &str, name: &str| {
        let get = format!("return document.getElementById('{id}').getAttribute('{name}')");
        browser.run(&get)
    };
    for (id, complete, kind) in [
        ("username", "username", "text"),
        ("password", "current-password", "password"),
    ] {
        assert_eq!(attribute(id, "autocomplete"), complete);
        assert_eq!(attribute(id, "type"), kind);
        assert_eq!(attribute(id, "name"), id);
    }
    let spoken = |selector| browser.find(selector).spoken();
    assert_eq!(spoken("#username"), ("textbox".into(), "User name".into()));
    assert_eq!(spoken("#password").1, "Password");
    assert_eq!(spoken("button"), ("button".into(), "Log in".into()));
    assert_eq!(spoken("h1"), ("heading".into(), "Portcullis".into()));
    assert_eq!(spoken("main").0, "main");
    assert_eq!(browser.run("return document.documentElement.lang"), "en");
    assert_eq!(browser.run("return document.title"), "Log in · Portcullis");
}

#[test]
fn the_pages_ask_nobody_else_for_anything() {
    let (backend, profile) = (site(), Profile::new());
    let gate = gate::with(backend.address, &with_logo("conf/logo.svg"));
    let browser = Browser::start(&profile);
    every_page(&browser, &gate, |_| {});
    assert_eq!(browser.refused(), [""; 0]);
    // Its own pages are of the scheme `chrome`.
    let requests = browser.requests();
    let requests: Vec<&String> = requests.iter().filter(|url| url.contains("//")).collect();
    let (own, others): (Vec<&String>, Vec<&String>) = requests
        .into_iter()
        .filter(|url| !url.starts_with("chrome://"))
        .partition(|url| url.starts_with(&gate.url("/")));
    assert!(own.len() > 5, "{own:?}");
    assert!(others.is_empty(), "{others:?}");
}

#[test]
fn the_logo_is_on_every_page_and_is_spoken_where_the_title_is_not() {
    let (backend, profile) = (site(), Profile::new());
    let folder = tempfile::tempdir().unwrap();
    let png = folder.path().join("named-wrongly.svg");
    std::fs::write(&png, STANDARD.decode(DOT).unwrap()).unwrap();
    for (logo, width) in [("conf/logo.svg", 44), (png.to_str().unwrap(), 1)] {
        let gate = gate::with(backend.address, &with_logo(logo));
        let browser = Browser::start(&profile);
        every_page(&browser, &gate, |name| {
            let shown = "const it = document.images[0]; return [it.complete, it.naturalWidth]";
            assert_eq!(
                browser.run(shown),
                serde_json::json!([true, width]),
                "{name}"
            );
            let alt = browser.run("return document.images[0].alt");
            let has_title = browser.run("return document.querySelector('h1').innerText");
            assert_eq!(alt == "Boiler 3", has_title != "Boiler 3", "{name}");
        });
        assert_eq!(browser.refused(), [""; 0]);
    }
}

/// A PNG of one pixel.
const DOT: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII=";

/// A login section with a logo, by its path in the repository.
fn with_logo(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    format!("login: {{title: Boiler 3, logo: '{}'}}\n", path.display())
}

#[test]
fn people_read_every_page_in_their_own_language_and_direction() {
    let (backend, profile) = (site(), Profile::new());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/languages");
    let [de, ar] = ["de.yaml", "ar.yaml"].map(|name| folder.join(name).display().to_string());
    let login =
        with_logo("conf/logo.svg").replace('}', &format!(", languages: ['{de}', '{ar}']}}"));
    let gate = gate::with(
        backend.address,
        &format!("{login}sessions: {{remember: 30d}}\n"),
    );
    for (reads, expected, forbidden) in [
        (
            "de-AT,de;q=0.9,en;q=0.8",
            ["de", "ltr"],
            "Sie sind als ralph angemeldet, dürfen",
        ),
        (
            "fr,ar;q=0.9,en;q=0.8",
            ["ar", "rtl"],
            "أنت مسجّل الدخول باسم ralph،",
        ),
        ("fr", ["en", "ltr"], "You are logged in as ralph, but"),
    ] {
        let browser = Browser::start(&profile);
        browser.open(&gate.url("/auth/login"));
        browser.reads(reads);
        every_page(&browser, &gate, |name| {
            browser.size(360, 640);
            browser.picture(&format!("{name}-{}", expected[0]));
            let found = browser.run(
                "const it = document.documentElement;
                return [it.lang, getComputedStyle(it).direction]",
            );
            assert_eq!(found, serde_json::json!(expected), "{name}");
            assert_eq!(browser.run(HIDDEN), 0, "{name}");
            assert_eq!(browser.run(UNREADABLE), serde_json::json!([]), "{name}");
            let text = browser.text();
            if name == "forbidden" {
                assert!(text.contains(forbidden), "{text}");
            }
            let is_english = ["Log", "You", "password", "request"]
                .iter()
                .any(|it| text.contains(it));
            assert_eq!(is_english, expected[0] == "en", "{name}: {text}");
        });
    }
}

#[test]
fn every_page_can_be_read_by_day_and_night_on_a_phone_and_on_a_desk() {
    let (backend, profile) = (site(), Profile::new());
    let login = with_logo("conf/logo.svg").replace('}', ", accent: '#ffd400'}");
    let gate = gate::with(
        backend.address,
        &format!("{login}sessions: {{remember: 30d}}\n"),
    );
    let browser = Browser::start(&profile);
    every_page(&browser, &gate, |name| {
        // The narrowest that there is (WCAG 2.2, 1.4.10), and a usual one.
        for (width, height) in [(320, 568), (1280, 800)] {
            browser.size(width, height);
            for scheme in ["light", "dark"] {
                browser.prefer(scheme);
                let what = format!("{name}-{width}-{scheme}");
                browser.picture(&what);
                assert_eq!(browser.run(HIDDEN), 0, "{what}");
                let unreadable = browser.run(UNREADABLE);
                assert_eq!(unreadable, serde_json::json!([]), "{what}");
            }
        }
    });
}

/// Looks at every page there is, by name.
fn every_page(browser: &Browser<'_>, gate: &Gate, look: impl Fn(&str)) {
    let open = |path: &str| browser.open(&gate.url(path));
    open("/reports");
    look("login");
    open("/auth/login?ended=1");
    look("session-ended");
    log_in(browser, "ralph", "wrong");
    browser.find("#error");
    look("wrong-password");
    log_in(browser, "", PASSWORD);
    browser.await_text("Backend page /");
    open("/admin/");
    look("forbidden");
    open("/no//where");
    look("bad-request");
    open("/broken");
    assert_eq!(browser.run(STATUS), 502);
    look("error");
    open("/auth/logout");
    look("logout");
    browser.find("button").follow();
    look("logged-out");
}

/// The status of the page that is shown.
const STATUS: &str = "return performance.getEntriesByType('navigation')[0].responseStatus";

/// How much of the page there is to its side.
const HIDDEN: &str = "const it = document.scrollingElement; return it.scrollWidth - it.clientWidth";

/// All text with a contrast below 4.5 to what is behind it, and all fields whose edge has one below
/// 3 (WCAG 2.2, 1.4.3 and 1.4.11).
const UNREADABLE: &str = "
    const channels = colour => colour.match(/[\\d.]+/g).map(Number);
    const linear = it => it <= 0.04045 ? it / 12.92 : ((it + 0.055) / 1.055) ** 2.4;
    const luminance = colour => {
        const [r, g, b] = channels(colour).map(it => linear(it / 255));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const paper = element => {
        for (; element; element = element.parentElement) {
            const colour = getComputedStyle(element).backgroundColor;
            if (channels(colour)[3] !== 0) return colour;
        }
        return 'rgb(255, 255, 255)';
    };
    const hasText = it => it.matches('input:not([type=hidden])') ||
        [...it.childNodes].some(node => node.nodeType === 3 && node.data.trim());
    const tooLow = (it, colour, least) => {
        const behind = paper(it);
        const [a, b] = [luminance(colour), luminance(behind)];
        const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        return contrast < least ? [`${it.outerHTML}: ${colour} on ${behind}: ${contrast}`] : [];
    };
    const all = selector => [...document.body.querySelectorAll(selector)];
    return all('*').filter(hasText).flatMap(it => tooLow(it, getComputedStyle(it).color, 4.5))
        .concat(all('input').flatMap(it => tooLow(it, getComputedStyle(it).borderTopColor, 3)));";

// --- Administrators and programs ---

/// A gate with an admin socket.
struct Administered {
    gate: Gate,
    socket: PathBuf,
    _folder: TempDir,
}

impl Administered {
    fn in_front_of(backend: &Backend) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("admin.sock");
        let admin = format!("admin: {{socket: '{}'}}", socket.display());
        let config = gate::config(backend.address, "");
        Self {
            gate: Gate::start(&config.replace("admin: {address: '127.0.0.1:0'}", &admin)),
            socket,
            _folder: folder,
        }
    }

    fn end_sessions_of(&self, user: &str) {
        let socket = self.socket.to_str().unwrap();
        let command = portcullis(["sessions", "end", "--user", user, "--socket", socket]);
        let ended = finished(command, "");
        assert_eq!(
            (ended.code, ended.out.as_str()),
            (Some(0), "1 session ended\n")
        );
    }
}

#[test]
fn a_program_passes_the_same_stations_and_is_told_in_json() {
    let backend = site();
    let Administered { gate, .. } = &Administered::in_front_of(&backend);
    let post = |session: &str, path: &str, body: &serde_json::Value| {
        let curl = gate.curl().session(session).args(["-d", &body.to_string()]);
        curl.header("Content-Type: application/json").get(path)
    };
    let problem = |got: &Got, status: u16| {
        assert_eq!(got.status, status, "{got:?}");
        assert_eq!(got.field("content-type"), Some("application/problem+json"));
        assert_eq!(got.field("location"), None);
        let body: serde_json::Value = serde_json::from_str(&got.body).unwrap();
        assert_eq!(body["status"], status, "{got:?}");
    };
    let credentials =
        |password: &str| serde_json::json!({"username": "ralph", "password": password});
    problem(&gate.curl().get("/data"), 401);
    problem(&post("", "/auth/login", &credentials("wrong")), 401);
    let session = gate.log_in("ralph");
    assert_eq!(gate.curl().session(&session).get("/data").status, 200);
    problem(&gate.curl().session(&session).get("/admin/"), 403);
    let out = post(&session, "/auth/logout", &serde_json::json!({}));
    assert_eq!(
        (out.status, out.body.as_str()),
        (200, r#"{"logged_out":true}"#)
    );
    problem(&gate.curl().session(&session).get("/data"), 401);
    eventually("it has to wait", || {
        let wrong = post("", "/auth/login", &credentials("a guess"));
        (wrong.status == 429).then(|| problem(&wrong, 429))
    });
}
