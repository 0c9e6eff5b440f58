//! Sessions beyond one login: how many there may be, what outlives the process, and who ends them.

use crate::harness::backend::Backend;
use crate::harness::eventually;
use crate::harness::gate;

#[test]
fn beyond_the_bound_of_a_user_the_longest_unused_session_ends_and_that_is_on_record() {
    let backend = Backend::start();
    let gate = gate::with(backend.address, "sessions: {per_user: 2}\n");
    let ada = gate.log_in("ada");
    let [first, second] = [(); 2].map(|()| gate.log_in("ralph"));
    assert_eq!(gate.curl().session(&first).get("/").status, 200);
    let third = gate.log_in("ralph");
    let status = |session: &str| gate.curl().session(session).get("/").status;
    let statuses = [&ada, &third].map(|session| status(session));
    assert_eq!(statuses, [200, 200]);
    // The last use counts in whole seconds, so either of the two may be the one.
    let mut left = [status(&first), status(&second)];
    left.sort_unstable();
    assert_eq!(left, [200, 401]);

    let is_end = |line: &serde_json::Value| line["event"] == "session.end";
    let line = eventually("it is on record", || gate.line_where(is_end));
    assert_eq!(line["auth.reason"], "limit");
    assert_eq!(line["user.name"], "ralph");
    let id = line["session.id"].as_str().unwrap();
    assert!(id.len() == 8 && id.bytes().all(|it| it.is_ascii_hexdigit()));
    let limit = [("reason", "limit")];
    gate.await_metric("portcullis_auth_sessions_ended_total", &limit, 1.0);
    gate.await_metric("portcullis_auth_sessions_active", &[], 3.0);
}
