//! How many token requests single flight makes, and which calls are refused: said from the rules, without a cache.

use std::collections::{BTreeMap, HashMap};

use super::town::{APPS, Server, Shown, Whose, life_of};

/// A moment, in milliseconds.
pub(super) type Moment = u64;

const SECOND: u64 = 1_000;

/// Which token serves a call.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Needed {
    app: usize,
    holder: Option<String>,
    scope: &'static str,
}

#[derive(Debug, Clone, Copy)]
struct Moments {
    due: Moment,
    unused: Moment,
}

/// A call, as far as it matters to a token.
pub(super) struct Wish<'a> {
    pub(super) app: usize,
    pub(super) scope: &'static str,
    pub(super) agent: &'a str,
    pub(super) user: &'a str,
    pub(super) node: &'a str,
    pub(super) node_ends: Moment,
    pub(super) users_token_ends: Moment,
}

#[derive(Debug, Default)]
pub(super) struct Foretold {
    tokens: HashMap<Needed, Moments>,
    pub(super) requests: BTreeMap<Server, usize>,
    /// How many of them nobody waited for.
    pub(super) ahead: usize,
}

impl Foretold {
    /// Whether the call gets a credential.
    pub(super) fn call(&mut self, wish: &Wish<'_>, now: Moment) -> bool {
        let Shown::Token { server, whose } = APPS[wish.app].shown else { return true };
        let (holder, subject, ends) = match whose {
            Whose::Everybodys => (None, "gateway", None),
            Whose::Agents => (Some(wish.agent.to_owned()), "gateway", None),
            Whose::Delegations { .. } => (Some(wish.node.to_owned()), wish.user, Some(wish.node_ends)),
        };
        let can_be_had = whose != Whose::Delegations { by_users_token: true } || now < wish.users_token_ends;
        let needed = Needed { app: wish.app, holder, scope: wish.scope };
        let kept = self.tokens.get(&needed).filter(|kept| now < kept.unused).copied();
        if kept.is_some_and(|kept| now < kept.due) {
            return true;
        }
        if !can_be_had {
            return kept.is_some();
        }
        self.ahead += usize::from(kept.is_some());
        *self.requests.entry(server).or_default() += 1;
        let dies = now + life_of(subject, APPS[wish.app].name, wish.scope) * SECOND;
        let moments = Moments { due: dies - 60 * SECOND, unused: dies - 5 * SECOND };
        let moments = match ends {
            Some(ends) if ends <= moments.unused => Moments { due: ends, unused: ends },
            Some(_) | None => moments,
        };
        self.tokens.insert(needed, moments);
        true
    }

    /// Tokens that cannot be given back are not kept.
    pub(super) fn restart(&mut self) {
        let is_kept =
            |needed: &Needed| !matches!(APPS[needed.app].shown, Shown::Token { server: Server::Partner, .. });
        self.tokens.retain(|needed, _| is_kept(needed));
    }
}
