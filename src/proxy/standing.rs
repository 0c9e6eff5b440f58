//! Whether a request that is being served would be let in once more: sessions end, users are
//! disabled and certificates revoked while an answer lasts. How often that is asked is `forward`'s
//! business.

use http::StatusCode;

use super::exchange::{AnswerSink, BodySource, Upload};
use super::forward::Standing;
use super::forward::failure::ForwardFailure;
use super::pages::text::Text;
use super::record::Record;
use super::respond::Answer;
use super::{Request, grpc, now, text_of};
use crate::gate::Decision;
use crate::gate::authorize::Permit;

/// A request with the permit that it was given.
pub(super) struct Permitted<'p, 'r> {
    pub(super) request: &'p Request<'r>,
    pub(super) permit: &'p Permit,
}

impl Standing for Permitted<'_, '_> {
    async fn stands(&self, moved: bool) -> bool {
        let (worker, head) = (self.request.worker, self.request.head);
        if worker.is_cutting_off() && grpc::is_call(head) {
            return false;
        }
        let again = self.request.again();
        let Ok(certificate) = again.certificate() else {
            return false;
        };
        let view = again.view(&certificate).await;
        let Decision::Forward(permit) = again.snapshot.gate.decide(&view, again.now) else {
            return false;
        };
        if moved {
            again.note_use(&permit, &view);
        }
        is_told_the_same(self.permit, &permit)
    }
}

/// Whether a backend would be told the same of who is asking. A permit for somebody else, or for
/// the same person with other rights, is one for another request.
fn is_told_the_same(before: &Permit, now: &Permit) -> bool {
    let certificate = |permit: &Permit| permit.certificate().ok().map(|it| it.sha256);
    before.identity().ok() == now.identity().ok() && certificate(before) == certificate(now)
}

impl<'r> Request<'r> {
    /// The same as if it had come at this moment.
    fn again(&self) -> Self {
        Request {
            worker: self.worker,
            client: self.client,
            snapshot: self.worker.shared.snapshot.load_full(),
            head: self.head,
            authorization: self.authorization.clone(),
            id: self.id.clone(),
            now: now(),
        }
    }

    /// Answers what was let in and would not be any more, before the backend has answered.
    pub(super) async fn refuse_after_all<B: BodySource, A: AnswerSink>(
        &self,
        body: &mut Upload<'_, B>,
        answer: &mut A,
        record: &mut Record<'_>,
    ) -> Result<(), ForwardFailure> {
        let again = self.again();
        if let Ok(certificate) = again.certificate() {
            let view = again.view(&certificate).await;
            if let Decision::Refuse(refusal) = again.snapshot.gate.decide(&view, again.now) {
                record.refused(&refusal);
                return again.refuse(&refusal, body, answer, record).await;
            }
        }
        let problem = again.problem(StatusCode::FORBIDDEN, Text::RightsChanged);
        again.send(problem, body, answer, record).await
    }

    /// Breaks an answer off. A gRPC call ends with a status that says why, where there is room for it:
    /// its clients take a stream that is only reset for a fault of the network.
    pub(super) async fn break_off<A: AnswerSink>(
        &self,
        failure: &ForwardFailure,
        answer: &mut A,
        record: &mut Record<'_>,
    ) {
        if !grpc::is_call(self.head) || failure.is_client_gone() {
            return answer.abort();
        }
        let said = match failure {
            ForwardFailure::NoLongerPermitted => self.refusal_now().await,
            failure => self.problem(failure.status(), text_of(failure)),
        };
        match said.grpc_trailers() {
            Some(trailers) if answer.end_with(&trailers) => {
                record.forwarded.grpc_status = said.grpc_status();
            }
            _ => answer.abort(),
        }
    }

    /// What it would be answered at this moment, where it would not be let in as it was.
    async fn refusal_now(&self) -> Answer {
        let again = self.again();
        let Ok(certificate) = again.certificate() else {
            return again.problem(StatusCode::UNAUTHORIZED, Text::CertificateNeeded);
        };
        let view = again.view(&certificate).await;
        match again.snapshot.gate.decide(&view, again.now) {
            Decision::Refuse(refusal) => again.refused(&refusal, None),
            Decision::Forward(_) | Decision::Own(..) => {
                again.problem(StatusCode::FORBIDDEN, Text::RightsChanged)
            }
        }
    }
}
