//! Which policy for client certificates a connection falls under: by the name that the client asks
//! for, by listener, or the default. Whoever asks with a request's `Host` is told the same.

use std::collections::HashMap;
use std::sync::Arc;

use boring::error::ErrorStack;

use super::client_auth::ClientPolicy;
use super::names::Names;
use super::secret::Answers;
use super::spec::{ClientAuthSpec, ClientAuthSpecs};
use super::trust::TrustError;
use crate::identity::host::HostName;

/// All policies, loaded.
pub(super) struct ClientAuth {
    default: Arc<ClientPolicy>,
    listeners: HashMap<usize, Arc<ClientPolicy>>,
    names: Names<Option<Arc<ClientPolicy>>>,
    /// What all of it was made from.
    specs: ClientAuthSpecs,
    /// Each once, the default first, with what it was made from.
    all: Vec<(ClientAuthSpec, Arc<ClientPolicy>)>,
}

/// A source that cannot be used.
pub(super) struct TrustProblem {
    /// The policy that names it.
    pub(super) place: String,
    pub(super) error: TrustError,
}

impl ClientAuth {
    /// Where nobody is asked for a certificate.
    pub(super) fn off() -> Result<Self, ErrorStack> {
        let off = Arc::new(ClientPolicy::off()?);
        Ok(Self {
            all: vec![(ClientAuthSpec::default(), Arc::clone(&off))],
            default: off,
            listeners: HashMap::new(),
            names: Names::new(),
            specs: ClientAuthSpecs::default(),
        })
    }

    /// Loads all that `specs` names. Where that cannot be done, what was loaded for the very same
    /// words before is kept, with what is wrong beside.
    ///
    /// # Errors
    /// All that is wrong, where something is missing for which there is nothing from before.
    pub(super) fn load(
        specs: &ClientAuthSpecs,
        answers: &Answers,
        before: Option<&Self>,
    ) -> Result<(Self, Vec<TrustProblem>), Vec<TrustProblem>> {
        let (mut all, mut problems) = (Vec::new(), Vec::new());
        let mut is_whole = true;
        let mut load = |spec: &ClientAuthSpec| {
            let error = match ClientPolicy::load(spec, answers) {
                Ok(policy) => {
                    let policy = Arc::new(policy);
                    all.push((spec.clone(), Arc::clone(&policy)));
                    return Some(policy);
                }
                Err(error) => error,
            };
            let place = spec.place.clone();
            problems.push(TrustProblem { place, error });
            let kept = before.and_then(|before| before.known(spec));
            match kept {
                Some(kept) => all.push((spec.clone(), Arc::clone(kept))),
                None => is_whole = false,
            }
            kept.cloned()
        };
        let default = load(&specs.default);
        let listeners = specs.listeners.iter();
        let listeners: HashMap<_, _> = listeners
            .filter_map(|(listener, spec)| Some((*listener, load(spec)?)))
            .collect();
        let mut names: Names<Option<Arc<ClientPolicy>>> = Names::new();
        for (written, spec) in &specs.names {
            let policy = load(spec);
            for name in written {
                names.entry(name).clone_from(&policy);
            }
        }
        let (Some(default), true) = (default, is_whole) else {
            return Err(problems);
        };
        let loaded = Self {
            default,
            listeners,
            names,
            specs: specs.clone(),
            all,
        };
        Ok((loaded, problems))
    }

    fn known(&self, spec: &ClientAuthSpec) -> Option<&Arc<ClientPolicy>> {
        let mut all = self.all.iter();
        let known = all.find(|(known, _)| known.says_the_same_as(spec));
        known.map(|(_, policy)| policy)
    }

    /// Each policy once, the default first.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<ClientPolicy>> {
        self.all.iter().map(|(_, policy)| policy)
    }

    /// The place of a policy among all of them.
    pub(super) fn position(&self, policy: &Arc<ClientPolicy>) -> Option<usize> {
        self.all().position(|it| Arc::ptr_eq(it, policy))
    }

    /// Whether two names may fall under two policies.
    pub(super) const fn depends_on_name(&self) -> bool {
        !self.specs.names.is_empty()
    }

    /// The policy of a connection to this listener that asks for this name. Where something is
    /// written for both, the stricter counts: neither is a way around the other.
    pub(super) fn of(&self, listener: usize, name: Option<&HostName>) -> &Arc<ClientPolicy> {
        let by_name = name.and_then(|name| self.of_name(name));
        let by_listener = self.listeners.get(&listener);
        match (by_name, by_listener) {
            (Some(by_name), Some(by_listener)) if by_listener.mode > by_name.mode => by_listener,
            (Some(by_name), _) => by_name,
            (None, by_listener) => by_listener.unwrap_or(&self.default),
        }
    }

    /// The policy that is written for this name, on whichever listener.
    pub(super) fn of_name(&self, name: &HostName) -> Option<&Arc<ClientPolicy>> {
        self.names.find(name).flatten().next()
    }

    /// Whether connections are treated as they were by `other`.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let digests = |it: &Self| it.all().map(|policy| policy.digest).collect::<Vec<_>>();
        self.specs.says_the_same_as(&other.specs) && digests(self) == digests(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::spec::ClientAuthMode;

    fn spec(mode: ClientAuthMode) -> ClientAuthSpec {
        ClientAuthSpec {
            mode,
            ..ClientAuthSpec::default()
        }
    }

    #[test]
    fn a_name_or_a_listener_goes_before_the_default_and_of_both_the_stricter() {
        let specs = ClientAuthSpecs {
            default: spec(ClientAuthMode::Off),
            listeners: [
                (1, spec(ClientAuthMode::Pinned)),
                (2, spec(ClientAuthMode::Off)),
                (3, spec(ClientAuthMode::Required)),
            ]
            .into(),
            names: vec![(
                vec!["a.example".into(), "*.b.example".into()],
                spec(ClientAuthMode::Optional),
            )],
        };
        let loaded = ClientAuth::load(&specs, &Answers::default(), None);
        let Ok((loaded, problems)) = loaded else {
            panic!("nothing has to be read")
        };
        assert!(problems.is_empty() && loaded.depends_on_name());
        for (listener, name, expected) in [
            (0, None, ClientAuthMode::Off),
            (0, Some("x.example"), ClientAuthMode::Off),
            (0, Some("A.Example."), ClientAuthMode::Optional),
            (0, Some("x.B.example"), ClientAuthMode::Optional),
            (1, None, ClientAuthMode::Pinned),
            (1, Some("x.y.b.example"), ClientAuthMode::Pinned),
            // The stricter of two, whichever it is.
            (1, Some("a.example"), ClientAuthMode::Pinned),
            (2, Some("a.example"), ClientAuthMode::Optional),
            (2, None, ClientAuthMode::Off),
            (3, Some("a.example"), ClientAuthMode::Required),
            (3, Some("x.example"), ClientAuthMode::Required),
        ] {
            let name = name.map(HostName::of_name);
            let found = loaded.of(listener, name.as_ref());
            assert_eq!(found.mode, expected, "{listener} {name:?}");
        }
    }
}
