//! Paths: each that is refused and could be let pass, beside the route that does (RFC 3986).

use super::{Case, case, line};

pub fn cases() -> Vec<Case> {
    let of = |path: &str| line(&format!("GET {path} HTTP/1.1"));
    let mut cases = Vec::new();
    // Refused where nothing is allowed, let pass where it is.
    for (name, source, rest) in [
        ("an encoded slash", "Envoy CVE-2021-29492", "@@@@/a%2Fb"),
        (
            "an encoded slash in lower case",
            "Traefik CVE-2025-66490",
            "@@@@/a%2fb",
        ),
        ("a backslash", "Envoy CVE-2021-29492", "@@@@/a\\b"),
        ("an encoded backslash", "Envoy CVE-2021-29492", "@@@@/a%5Cb"),
        ("an empty segment", "Envoy CVE-2019-9901", "@@@@//a"),
        (
            "an empty segment at the end",
            "Envoy CVE-2019-9901",
            "@@@@/a//",
        ),
        ("a path parameter", "RFC 3986 3.3; Tomcat", "@@@@/a;v=1/b"),
        (
            "a session id of Java",
            "Servlet 7.1.3",
            "@@@@/a;jsessionid=0123",
        ),
        ("an encoded path parameter", "RFC 3986 3.3", "@@@@/a%3Bb"),
        ("double encoding", "OWASP double encoding", "@@@@/a%2541"),
        ("Latin-1", "RFC 3987", "@@@@/b%FCro"),
    ] {
        let strict = of(&format!("/public/{rest}"));
        let relaxed = format!("/relaxed/{rest}");
        cases.push(case(name, source, strict).refused(400));
        cases.push(case(name, source, of(&relaxed)).granted(&format!("GET {relaxed}")));
    }
    // Never, wherever.
    for (name, source, rest) in [
        ("two dots", "RFC 3986 5.2.4", "@@@@/../../admin/"),
        ("one dot", "RFC 3986 5.2.4", "@@@@/./x"),
        (
            "encoded dots",
            "Envoy CVE-2019-9901",
            "@@@@/%2e%2e/%2e%2e/admin/",
        ),
        (
            "half encoded dots",
            "Envoy CVE-2019-9901",
            "@@@@/.%2e/.%2E/admin/",
        ),
        (
            "dots behind encoded slashes",
            "Envoy CVE-2021-29492",
            "@@@@%2f..%2f..%2fadmin",
        ),
        (
            "dots behind encoded backslashes",
            "Envoy CVE-2021-29492",
            "@@@@%5c..%5c..%5cadmin",
        ),
        ("dots behind backslashes", "Windows", "@@@@\\..\\..\\admin"),
        (
            "dots before a parameter",
            "Tomcat ..;/",
            "@@@@/..;/..;/admin/",
        ),
        (
            "dots before an encoded parameter",
            "Tomcat ..;/",
            "@@@@/..%3b/..%3b/admin/",
        ),
        (
            "doubly encoded dots",
            "OWASP double encoding",
            "@@@@/%252e%252e/%252e%252e/admin/",
        ),
        (
            "doubly encoded slashes",
            "OWASP double encoding",
            "@@@@/..%252f..%252fadmin/",
        ),
        (
            "dots in three bytes each",
            "CVE-2000-0884",
            "@@@@/%e0%80%ae%e0%80%ae/admin/",
        ),
        (
            "a slash in two bytes",
            "CVE-2000-0884",
            "@@@@/..%c0%af..%c0%afadmin/",
        ),
        ("dots with spaces", "Windows", "@@@@/..%20/..%20/admin/"),
        (
            "dots around a byte that is left out",
            "UTS 36 3.5",
            "@@@@/.%ff./.%ff./admin/",
        ),
        ("NUL", "Envoy CVE-2019-9900", "@@@@%00"),
        ("NUL before a suffix", "Envoy CVE-2019-9900", "@@@@%00.png"),
        ("CR LF", "CWE-93", "@@@@%0d%0aX-Forwarded-User:%20root"),
        ("LF", "CWE-93", "@@@@%0aX:y"),
        ("DEL", "RFC 3986 2.1", "@@@@%7f"),
        ("percent alone", "RFC 3986 2.1", "@@@@%"),
        ("percent with one digit", "RFC 3986 2.1", "@@@@%2"),
        ("percent with no hex digits", "RFC 3986 2.1", "@@@@%zz"),
        ("percent with u", "IIS", "@@@@%u002f..%u002fadmin"),
    ] {
        for folder in ["public", "relaxed"] {
            cases.push(case(name, source, of(&format!("/{folder}/{rest}"))).refused(400));
        }
    }
    cases.extend([
        case(
            "two slashes in front",
            "OPA-Envoy CVE-2026-26205",
            of("//admin/@@@@"),
        )
        .refused(400),
        case(
            "a host in front",
            "OPA-Envoy CVE-2026-26205",
            of("//localhost/admin/@@@@"),
        )
        .refused(400),
        case(
            "a slash and a backslash in front",
            "WHATWG URL",
            of("/\\admin/@@@@"),
        )
        .refused(400),
        case(
            "an encoded slash at the border of two routes",
            "Traefik CVE-2026-40912",
            of("/relaxed%2f@@@@"),
        )
        .refused(400),
        case(
            "a parameter at the border of two routes",
            "Traefik CVE-2026-40912",
            of("/relaxed;x/@@@@"),
        )
        .refused(400),
        case(
            "two slashes before a route",
            "Envoy CVE-2019-9901",
            of("//relaxed/@@@@"),
        )
        .refused(400),
        case(
            "a public route in front of dots",
            "RFC 3986 5.2.4",
            of("/admin/@@@@/../../public/x"),
        )
        .refused(400),
        case("a protected path", "RFC 9110 15.5.2", of("/admin/@@@@")).refused(401),
        case(
            "a protected path with a letter encoded",
            "RFC 3986 6.2.2.2",
            of("/%61dmin/@@@@"),
        )
        .refused(401),
        case(
            "a protected path in another case",
            "Caddy CVE-2026-27587",
            of("/ADMIN/@@@@"),
        )
        .refused(401),
        case(
            "a protected path with a dot behind it",
            "Windows",
            of("/admin./@@@@"),
        )
        .refused(401),
        case(
            "a protected path with a space behind it",
            "Windows",
            of("/admin%20/@@@@"),
        )
        .refused(401),
        case(
            "a protected path with an encoded query",
            "Heimdall CVE-2026-32811",
            of("/admin%3f@@@@"),
        )
        .refused(401),
        case(
            "a protected path with an encoded fragment",
            "HAProxy CVE-2023-45539",
            of("/admin%23@@@@"),
        )
        .refused(401),
        case(
            "a query that looks like a public path",
            "oauth2-proxy GHSA-7rh7-c77v-6434",
            of("/admin/@@@@?/public/x"),
        )
        .refused(401),
        case(
            "an encoded letter",
            "RFC 3986 6.2.2.2",
            of("/%70ublic/@@@@"),
        )
        .granted("GET /%70ublic/@@@@"),
        case(
            "three dots are a name",
            "RFC 3986 5.2.4",
            of("/public/@@@@/..."),
        )
        .granted("GET /public/@@@@/..."),
        case(
            "a dot in a name",
            "RFC 3986 5.2.4",
            of("/public/@@@@/.a..b"),
        )
        .granted("GET /public/@@@@/.a..b"),
        case(
            "an encoded percent sign",
            "RFC 3986 2.4",
            of("/public/@@@@/100%25"),
        )
        .granted("GET /public/@@@@/100%25"),
        case("UTF-8", "RFC 3987", of("/public/@@@@/b%C3%BCro"))
            .granted("GET /public/@@@@/b%C3%BCro"),
    ]);
    cases
}
