//! Everything that pages say, in English. Other languages are files with a text for each of the
//! keys here (`language`).

use std::borrow::Cow;

use http::StatusCode;

use crate::identity::certificate::InvalidCertificate;

/// Each text with its key in language files. What stands in braces is put in when it is said.
macro_rules! texts {
    ($($name:ident $key:literal $english:literal)*) => {
        /// One thing that pages say.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Text { $(#[doc = $english] $name),* }

        impl Text {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// What it is called in language files.
            #[must_use]
            pub const fn key(self) -> &'static str {
                match self { $(Self::$name => $key),* }
            }

            /// What it says.
            #[must_use]
            pub const fn english(self) -> &'static str {
                match self { $(Self::$name => $english),* }
            }
        }
    };
}

texts! {
    // The login page.
    LogIn "log_in" "Log in"
    UserName "user_name" "User name"
    Password "password" "Password"
    Remember "remember" "Stay logged in on this device"
    SessionEnded "session_ended" "Your session has ended. Log in to go on."
    WrongCredentials "wrong_credentials" "Wrong user name or password."
    WaitASecond "wait_a_second" "Too many wrong passwords. Try again in a second."
    WaitSeconds "wait_seconds" "Too many wrong passwords. Try again in {seconds} seconds."
    WaitMinutes "wait_minutes" "Too many wrong passwords. Try again in {minutes} minutes."
    LoginFormExpired "login_form_expired" "This form is no longer valid. Please try again."
    TooManyLogins "too_many_logins" "Too many people are logging in. Try again in a moment."
    CannotLogIn "cannot_log_in" "Logging in is not possible at the moment."
    OnlyOverHttps "only_over_https" "Logging in is only possible over HTTPS."
    FormFromElsewhere "form_from_elsewhere" "This form can only be sent from its own page."
    FormOfOtherType "form_of_other_type" "Send application/x-www-form-urlencoded or application/json."
    FormUnreadable "form_unreadable" "This form cannot be read: each field may stand in it once, as text."
    JsonUnreadable "json_unreadable" "This is not the JSON that is expected here: send {json}."
    // The logout pages.
    LogOut "log_out" "Log out"
    LoggedInAs "logged_in_as" "You are logged in as {user}."
    StayLoggedIn "stay_logged_in" "Stay logged in"
    LoggedOut "logged_out" "Logged out"
    YouAreLoggedOut "you_are_logged_out" "You are logged out."
    LogInAgain "log_in_again" "Log in again"
    LogoutFormExpired "logout_form_expired" "This form is no longer valid. Open the logout page again."
    CannotLogOut "cannot_log_out" "Logging out is not possible at the moment. Try again soon."
    // Who may not do it.
    LoginNeeded "login_needed" "You have to log in to use this address."
    LoginNeededOverHttps "login_needed_over_https" "You have to log in to use this address, which is only possible over HTTPS."
    PasswordNeeded "password_needed" "This address needs a user name and password."
    PasswordNeededOverHttps "password_needed_over_https" "This address needs a user name and password, which is only possible over HTTPS."
    PasswordOrTokenNeeded "password_or_token_needed" "This address needs a user name and password, or a token."
    PasswordOrTokenNeededOverHttps "password_or_token_needed_over_https" "This address needs a user name and password, or a token, which is only possible over HTTPS."
    TokenNeeded "token_needed" "This address needs a token."
    TokenNeededOverHttps "token_needed_over_https" "This address needs a token, which is only possible over HTTPS."
    TokenUnknown "token_unknown" "This token is not known here."
    TokenExpired "token_expired" "This token has expired."
    TokenUserDisabled "token_user_disabled" "The user of this token is disabled."
    RequestFromElsewhere "request_from_elsewhere" "This request was made by the page of another site."
    LoginsUnchecked "logins_unchecked" "Logins cannot be checked at the moment. Try again soon."
    UserForbidden "user_forbidden" "You are logged in as {user}, but you are not allowed to use this address."
    TokenForbidden "token_forbidden" "Your token is known, but you are not allowed to use this address."
    DeviceForbidden "device_forbidden" "Your certificate is known, but you are not allowed to use this address."
    UserNotOwner "user_not_owner" "You are logged in as {user}, but this address belongs to somebody else."
    TokenNotOwner "token_not_owner" "Your token is known, but this address belongs to somebody else."
    DeviceNotOwner "device_not_owner" "Your certificate is known, but this address belongs to somebody else."
    LogInAsOther "log_in_as_other" "Log in as somebody else"
    RightsChanged "rights_changed" "What let you in has changed. Load the page again."
    AddressNotAllowed "address_not_allowed" "This page cannot be used from the network that you are in."
    // Certificates of clients.
    CertificateNotSent "certificate_not_sent" "This address needs a client certificate, and your browser or program sent none."
    CertificateNotAsked "certificate_not_asked" "This address needs a client certificate, and none is asked for where you came in."
    CertificateNeeded "certificate_needed" "This address needs a client certificate."
    CertificateExpired "certificate_expired" "Your certificate, or the one of its issuer, has expired."
    CertificateNotYetValid "certificate_not_yet_valid" "Your certificate, or the one of its issuer, is not valid yet. Check the clock."
    CertificateRevoked "certificate_revoked" "Your certificate, or the one of its issuer, was revoked."
    CertificateUntrusted "certificate_untrusted" "Your certificate was issued by nobody who is trusted here."
    CertificateSelfSigned "certificate_self_signed" "Your certificate is self-signed, and not trusted here."
    CertificateWrongPurpose "certificate_wrong_purpose" "Your certificate may not be used by clients of TLS."
    CertificateChainTooLong "certificate_chain_too_long" "There are too many certificates between yours and a trusted one."
    CertificateListExpired "certificate_list_expired" "Whether your certificate was revoked is not known: the revocation list is out of date."
    CertificateListMissing "certificate_list_missing" "Whether your certificate was revoked is not known: there is no revocation list for its issuer."
    CertificateListUnusable "certificate_list_unusable" "Whether your certificate was revoked is not known: the revocation list cannot be used."
    CertificateWeak "certificate_weak" "Your certificate, or the one of its issuer, has a key or signature that can be broken."
    CertificateUnusable "certificate_unusable" "Your certificate cannot be used."
    CertificateUnknown "certificate_unknown" "Your certificate is not known here."
    CertificateSeveralNames "certificate_several_names" "Your certificate has several names, and which one counts is not clear."
    CertificatesNotAccepted "certificates_not_accepted" "Certificates cannot be accepted at the moment. Try again soon."
    // What cannot be served.
    NothingHere "nothing_here" "There is nothing at this address."
    AskedTooOften "asked_too_often" "You have asked too often. Try again in a moment."
    TooMuchAtOnce "too_much_at_once" "You have too much under way here at one time. Try again when some of it has ended."
    OtherMethod "other_method" "This address does not take that method."
    AmbiguousPath "ambiguous_path" "The path of this request can be read in two ways: {why}."
    AuthorizationUnreadable "authorization_unreadable" "The Authorization field of this request cannot be read, or there are two of them."
    Unacceptable "unacceptable" "This request is not acceptable: {why}."
    HeadTooSlow "head_too_slow" "The request head did not arrive in time."
    BodyTooLarge "body_too_large" "The request body is too large."
    BodyTooSlow "body_too_slow" "The request body came too slowly."
    BodyUnreadable "body_unreadable" "The request body cannot be read."
    NoHttp "no_http" "This server does not support HTTP. Please retry this request using HTTPS."
    RedirectLoop "redirect_loop" "This request came over HTTPS to a proxy that passed it on in the clear, to where everything is redirected to HTTPS."
    OtherHost "other_host" "This connection was made for another host name, under other rules. Open a new connection for this address."
    BackendSlow "backend_slow" "The service behind this gate took too long to answer."
    BackendBusy "backend_busy" "The service behind this gate has too much to do. Try again in a moment."
    NoWebSocketHere "no_websocket_here" "The service behind this gate does not speak WebSocket at this address."
    BackendUnreachable "backend_unreachable" "The service behind this gate cannot be reached."
    // The headings of all these, by status.
    BadRequest "bad_request" "Bad Request"
    Unauthorized "unauthorized" "Unauthorized"
    Forbidden "forbidden" "Forbidden"
    NotFound "not_found" "Not Found"
    MethodNotAllowed "method_not_allowed" "Method Not Allowed"
    RequestTimeout "request_timeout" "Request Timeout"
    PayloadTooLarge "payload_too_large" "Payload Too Large"
    UnsupportedMediaType "unsupported_media_type" "Unsupported Media Type"
    MisdirectedRequest "misdirected_request" "Misdirected Request"
    TooManyRequests "too_many_requests" "Too Many Requests"
    NotImplemented "not_implemented" "Not Implemented"
    BadGateway "bad_gateway" "Bad Gateway"
    ServiceUnavailable "service_unavailable" "Service Unavailable"
    GatewayTimeout "gateway_timeout" "Gateway Timeout"
    OtherError "error" "Error"
    RequestId "request" "request {id}"
}

impl Text {
    /// The one of that key.
    #[must_use]
    pub fn of_key(key: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|text| text.key() == key)
    }

    /// What is put in when it is said, if anything: the name in the braces.
    #[must_use]
    pub fn placeholder(self) -> Option<&'static str> {
        placeholders(self.english()).next()
    }

    /// The heading of a page with this status.
    #[must_use]
    pub const fn heading(status: StatusCode) -> Self {
        match status {
            StatusCode::BAD_REQUEST => Self::BadRequest,
            StatusCode::UNAUTHORIZED => Self::Unauthorized,
            StatusCode::FORBIDDEN => Self::Forbidden,
            StatusCode::NOT_FOUND => Self::NotFound,
            StatusCode::METHOD_NOT_ALLOWED => Self::MethodNotAllowed,
            StatusCode::REQUEST_TIMEOUT => Self::RequestTimeout,
            StatusCode::PAYLOAD_TOO_LARGE => Self::PayloadTooLarge,
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Self::UnsupportedMediaType,
            StatusCode::MISDIRECTED_REQUEST => Self::MisdirectedRequest,
            StatusCode::TOO_MANY_REQUESTS => Self::TooManyRequests,
            StatusCode::NOT_IMPLEMENTED => Self::NotImplemented,
            StatusCode::BAD_GATEWAY => Self::BadGateway,
            StatusCode::SERVICE_UNAVAILABLE => Self::ServiceUnavailable,
            StatusCode::GATEWAY_TIMEOUT => Self::GatewayTimeout,
            _ => Self::OtherError,
        }
    }

    /// With what is put in.
    pub fn with<'s>(self, value: impl Into<Cow<'s, str>>) -> Said<'s> {
        Said {
            value: Some(value.into()),
            ..self.into()
        }
    }
}

impl From<InvalidCertificate> for Text {
    fn from(why: InvalidCertificate) -> Self {
        match why {
            InvalidCertificate::Expired => Self::CertificateExpired,
            InvalidCertificate::NotYetValid => Self::CertificateNotYetValid,
            InvalidCertificate::Revoked => Self::CertificateRevoked,
            InvalidCertificate::UnknownAuthority => Self::CertificateUntrusted,
            InvalidCertificate::SelfSigned => Self::CertificateSelfSigned,
            InvalidCertificate::WrongPurpose => Self::CertificateWrongPurpose,
            InvalidCertificate::ChainTooLong => Self::CertificateChainTooLong,
            InvalidCertificate::CrlExpired => Self::CertificateListExpired,
            InvalidCertificate::CrlMissing => Self::CertificateListMissing,
            InvalidCertificate::CrlInvalid => Self::CertificateListUnusable,
            InvalidCertificate::Weak => Self::CertificateWeak,
            InvalidCertificate::Damaged => Self::CertificateUnusable,
            InvalidCertificate::NoRule => Self::CertificateUnknown,
            InvalidCertificate::SeveralNames => Self::CertificateSeveralNames,
        }
    }
}

/// A text with what is put in, and perhaps another one after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said<'s> {
    /// The text.
    pub text: Text,
    /// What stands for the braces in it.
    pub value: Option<Cow<'s, str>>,
    /// What is said after it.
    pub then: Option<Text>,
}

impl From<Text> for Said<'_> {
    fn from(text: Text) -> Self {
        Self {
            text,
            value: None,
            then: None,
        }
    }
}

impl Said<'_> {
    /// The same with a text after it.
    #[must_use]
    pub fn then(self, then: Option<Text>) -> Self {
        Self { then, ..self }
    }

    /// All of it in English, for programs.
    #[must_use]
    pub fn english(&self) -> String {
        let value = self.value.as_deref().unwrap_or_default();
        let mut said = fill(self.text.english(), value);
        if let Some(then) = self.then {
            said.push(' ');
            said.push_str(then.english());
        }
        said
    }
}

/// The names in braces in a text.
pub fn placeholders(text: &str) -> impl Iterator<Item = &str> {
    let pieces = text.split('{').skip(1);
    pieces.filter_map(|piece| Some(piece.split_once('}')?.0))
}

/// `text` with `value` in place of what stands in braces.
#[must_use]
pub fn fill(text: &str, value: &str) -> String {
    match text.split_once('{').zip(text.split_once('}')) {
        Some(((before, _), (_, after))) => format!("{before}{value}{after}"),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_text_has_a_key_of_its_own_and_at_most_one_value() {
        let keys: BTreeSet<&str> = Text::ALL.iter().map(|text| text.key()).collect();
        assert_eq!(keys.len(), Text::ALL.len());
        for text in Text::ALL {
            assert_eq!(Text::of_key(text.key()), Some(*text));
            assert!(placeholders(text.english()).count() <= 1, "{text:?}");
        }
        assert_eq!(Text::of_key("login"), None);
        assert_eq!(Text::WaitSeconds.placeholder(), Some("seconds"));
        assert_eq!(Text::LogIn.placeholder(), None);
    }

    #[test]
    fn what_is_put_in_is_not_looked_at_again() {
        let said = Text::LoggedInAs.with("{user}");
        assert_eq!(said.english(), "You are logged in as {user}.");
        let said = Said::from(Text::LoginNeeded).then(Some(Text::CertificateUnknown));
        assert_eq!(
            said.english(),
            "You have to log in to use this address. Your certificate is not known here."
        );
    }

    #[test]
    fn headings_are_the_words_of_http() {
        for status in (400..=599).filter_map(|code| StatusCode::from_u16(code).ok()) {
            let heading = Text::heading(status);
            if heading != Text::OtherError {
                assert_eq!(status.canonical_reason(), Some(heading.english()));
            }
        }
    }
}
