//! The section `identity`.

use crate::config::document::At;
use crate::config::file::IdentityFile;
use crate::proxy::spec::IdentityPreset;

use super::choose_word;

const PRESETS: [(&str, Option<IdentityPreset>); 10] = [
    ("x-forwarded-user", Some(IdentityPreset::XForwardedUser)),
    ("x-auth-request", None),
    ("remote-user", None),
    ("xfcc", None),
    ("rfc9440", None),
    ("nginx-ssl", None),
    ("haproxy-ssl", None),
    ("wso2", None),
    ("wso2-apim", None),
    ("jwt", None),
];

/// The sets of identity headers, in the order written, each once. An empty list means none.
pub(super) fn lower(written: IdentityFile, at: &At<'_>) -> Vec<IdentityPreset> {
    let IdentityFile { headers } = written;
    let Some(headers) = headers else {
        return vec![IdentityPreset::XForwardedUser];
    };
    let mut presets = Vec::new();
    for (at, name) in at.key("headers").texts(headers) {
        let preset = choose_word(&name, &PRESETS, &at);
        presets.extend(preset.filter(|preset| !presets.contains(preset)));
    }
    presets
}
