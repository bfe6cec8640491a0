use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use futures_util::future::join_all;
use http::Method;
use serde_json::{Value, json};
use vestibule_model::{Clock, FixedClock};
use vestibule_testkit::{
    AgentKey, Answer, Holder, Http, Seen, TestAgent, TestAuthorizationServer, TestIssuer, TestUpstream,
};

use super::{
    foretold::{Foretold, Moment, Wish},
    town::{
        AGENTS, APPS, DELEGATION_SECONDS, POLICIES, SERVERS, Shown, Town, USERS, Whose, agent_name,
        client_of, user_name, with_life,
    },
};
use crate::gateway::{TestGateway, folder, wednesday_noon};

/// Calls at once.
const BATCH: u64 = 20;

/// Numbers that look random, the same with each run.
struct Dice(u64);

impl Dice {
    /// Below `below`.
    fn roll(&mut self, below: u64) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % below
    }
}

/// Which agent for whom, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Pairing {
    agent: u64,
    user: u64,
    app: usize,
}

/// What an agent holds for it.
struct Held {
    holder: Holder,
    ends: Moment,
    users_token: String,
    users_token_ends: Moment,
}

/// A call that was made.
struct Made {
    pairing: Pairing,
    scope: &'static str,
    inbound: [String; 2],
    passes: bool,
}

pub(super) struct Run {
    town: Town,
    gateway: Option<TestGateway>,
    clock: Arc<FixedClock>,
    agents: Vec<TestAgent>,
    dice: Dice,
    held: HashMap<Pairing, Held>,
    /// When delegations end.
    ends: HashMap<String, Moment>,
    recent: Vec<Pairing>,
    cut_agents: BTreeSet<u64>,
    cut_users: BTreeSet<u64>,
    foretold: Foretold,
    made: Vec<Made>,
    restarts: usize,
}

impl Run {
    pub(super) async fn new(seed: u64) -> Self {
        let town = Town {
            upstream: TestUpstream::http(Answer::json(&json!({}))).await,
            users: TestIssuer::start().await,
            idp: TestAuthorizationServer::start().await,
            corp: TestAuthorizationServer::start().await,
            partner: TestAuthorizationServer::start().await,
        };
        for server in SERVERS {
            town.server(server).twist(with_life);
        }
        let dir = folder(&[("all.cedar", POLICIES)]);
        for name in ["bearer", "header", "client"] {
            std::fs::write(dir.path().join(name), secret_of(name)).unwrap();
        }
        let clock = wednesday_noon();
        let listen = ([127, 0, 0, 2], 0).into();
        let gateway =
            TestGateway::start_on(listen, dir, &town.config(), Arc::<FixedClock>::clone(&clock)).await;
        let mut agents = Vec::new();
        for agent in 0..AGENTS {
            agents.push(gateway.agent(&agent_name(agent), json!({})).await);
        }
        Self {
            town,
            gateway: Some(gateway),
            clock,
            agents,
            dice: Dice(seed),
            held: HashMap::new(),
            ends: HashMap::new(),
            recent: Vec::new(),
            cut_agents: BTreeSet::new(),
            cut_users: BTreeSet::new(),
            foretold: Foretold::default(),
            made: Vec::new(),
            restarts: 0,
        }
    }

    fn gateway(&self) -> &TestGateway {
        self.gateway.as_ref().unwrap()
    }

    fn now(&self) -> Moment {
        u64::try_from(self.clock.now().millis()).unwrap()
    }

    pub(super) async fn calls(&mut self, count: u64) {
        while (self.made.len() as u64) < count {
            let ahead = self.foretold.ahead;
            self.batch().await;
            // What nobody waits for has not arrived yet.
            let is_quiet = self.foretold.ahead == ahead;
            match self.dice.roll(12) {
                0 if is_quiet => self.restart().await,
                1 if self.cut_agents.len() < 10 => self.cut_agent().await,
                2 if self.cut_users.len() < 10 => self.cut_user().await,
                3..7 => self.pass(200).await,
                _ => self.pass(20).await,
            }
        }
    }

    async fn pass(&mut self, seconds: u64) {
        let by = Duration::from_millis(1 + self.dice.roll(seconds * 1_000));
        self.gateway().advance(&self.clock, by).await;
    }

    async fn restart(&mut self) {
        self.asked_as_foretold().await;
        let gateway = self.gateway.take().unwrap();
        self.gateway = Some(gateway.restart_in_place().await);
        self.foretold.restart();
        self.restarts += 1;
    }

    async fn cut_agent(&mut self) {
        let agent = self.dice.roll(AGENTS);
        self.cut_agents.insert(agent);
        self.gateway().revoke("agent", &agent_name(agent)).await;
    }

    async fn cut_user(&mut self) {
        let user = self.dice.roll(USERS);
        self.cut_users.insert(user);
        let id = format!("{}#{}", self.town.idp.issuer(), user_name(user));
        self.gateway().revoke("user", &id).await;
    }

    fn is_cut(&self, pairing: Pairing) -> bool {
        self.cut_agents.contains(&pairing.agent) || self.cut_users.contains(&pairing.user)
    }

    /// Often one that was there before: of an agent that is cut off only what it holds already.
    fn pick(&mut self) -> Pairing {
        loop {
            let (old, recent) = (self.dice.roll(10), self.recent.len() as u64);
            if old < 7 && recent > 0 {
                let from = recent.saturating_sub(60);
                let at = from + self.dice.roll(recent - from);
                let pairing = self.recent[usize::try_from(at).unwrap()];
                let lives = self.held.get(&pairing).is_some_and(|held| self.now() + 1_000 < held.ends);
                if lives || !self.is_cut(pairing) {
                    return pairing;
                }
            }
            let agent = self.dice.roll(AGENTS);
            let user = (agent + self.dice.roll(2)) % USERS;
            let app = usize::try_from(self.dice.roll(APPS.len() as u64)).unwrap();
            let pairing = Pairing { agent, user, app };
            if !self.is_cut(pairing) {
                self.recent.push(pairing);
                return pairing;
            }
        }
    }

    /// A token of the gateway that lives, the old one's successor or one of a new delegation.
    async fn hold(&mut self, pairing: Pairing) {
        let now = self.now();
        let Some(held) = self.held.get(&pairing) else { return self.root(pairing).await };
        if now + 60_000 < held.ends || self.is_cut(pairing) {
            return;
        }
        let successor = if now + 1_000 < held.ends { held.holder.try_again().await.ok() } else { None };
        match successor {
            Some(holder) => {
                let held = self.held.get_mut(&pairing).unwrap();
                held.ends = ends(&holder);
                held.holder = holder;
            }
            None => self.root(pairing).await,
        }
    }

    async fn root(&mut self, pairing: Pairing) {
        let life = 120 + self.dice.roll(1_200);
        let exp = self.clock.now().seconds() + i64::try_from(life).unwrap();
        let claims = json!({ "iss": self.town.idp.issuer(), "groups": ["developers"], "exp": exp });
        let (user, client) = (user_name(pairing.user), client_of(pairing.agent));
        let users_token = self.town.users.id_token(&user, &client, self.clock.now(), &claims);
        let resource = self.gateway().resource(APPS[pairing.app].name);
        let agent = &self.agents[usize::try_from(pairing.agent).unwrap()];
        let key = AgentKey::generate("key");
        let holder = Holder::for_user(agent, key, &users_token, &[("resource", &resource)]).await;
        let node_ends = self.now() + DELEGATION_SECONDS * 1_000;
        self.ends.entry(holder.node()).or_insert(node_ends);
        let users_token_ends = u64::try_from(exp).unwrap() * 1_000;
        self.held.insert(pairing, Held { ends: ends(&holder), holder, users_token, users_token_ends });
    }

    /// Calls at once, and how each ended.
    async fn batch(&mut self) {
        let mut picked: Vec<(Pairing, bool)> = Vec::new();
        while (picked.len() as u64) < BATCH {
            let again = picked.last().copied().filter(|_| self.dice.roll(3) == 0);
            let next = again.unwrap_or((Pairing { agent: 0, user: 0, app: 0 }, false));
            let next = if again.is_some() { next } else { (self.pick(), self.dice.roll(4) == 0) };
            picked.push(next);
        }
        for (pairing, _) in &picked {
            self.hold(*pairing).await;
        }
        let now = self.now();
        let first = self.made.len();
        for (pairing, writes) in &picked {
            let held = &self.held[pairing];
            let node = held.holder.node();
            let wish = Wish {
                app: pairing.app,
                scope: if *writes { "write" } else { "read" },
                agent: &agent_name(pairing.agent),
                user: &user_name(pairing.user),
                node: &node,
                node_ends: self.ends[&node],
                users_token_ends: held.users_token_ends,
            };
            let passes = !self.is_cut(*pairing) && self.foretold.call(&wish, now);
            let inbound = [held.holder.token().to_owned(), held.users_token.clone()];
            self.made.push(Made { pairing: *pairing, scope: wish.scope, inbound, passes });
        }
        let calls = picked.iter().enumerate().map(|(at, (pairing, writes))| {
            let (method, path) = if *writes { (Method::PUT, "it") } else { (Method::GET, "look") };
            let base = self.gateway().resource(APPS[pairing.app].name);
            let (url, holder) = (format!("{base}/{path}?n={}", first + at), &self.held[pairing].holder);
            async move { holder.send(method.as_str(), &url, || Http::request(method.clone(), &url)).await }
        });
        let replies = join_all(calls).await;
        for (reply, made) in replies.iter().zip(&self.made[first..]) {
            let passed = reply.status == 200;
            assert_eq!(passed, made.passes, "{:?}: {} {}", made.pairing, reply.status, reply.text());
        }
    }

    /// Waits for what nobody else waits for, and counts.
    async fn asked_as_foretold(&self) {
        for server in SERVERS {
            let foretold = self.foretold.requests.get(&server).copied().unwrap_or_default();
            let asked = || self.town.server(server).asked().len();
            for _ in 0..1_000 {
                if asked() >= foretold {
                    break;
                }
                tokio::task::yield_now().await;
            }
            assert_eq!(asked(), foretold, "token requests at {server:?}");
        }
    }

    /// What each application was shown is the caller's own and nothing else.
    pub(super) async fn judge(self) {
        self.asked_as_foretold().await;
        let mut unseen: BTreeSet<usize> =
            self.made.iter().enumerate().filter(|(_, made)| made.passes).map(|(number, _)| number).collect();
        let mut owners = BTreeMap::new();
        let issuer = self.gateway().url("");
        for seen in self.town.upstream.requests() {
            let number: usize = seen.query.as_deref().unwrap().strip_prefix("n=").unwrap().parse().unwrap();
            assert!(unseen.remove(&number), "call {number} was not to come, or came twice");
            self.judge_one(&seen, number, &issuer, &mut owners);
        }
        assert!(unseen.is_empty(), "{unseen:?} passed and were not seen");
        let refused = self.made.iter().filter(|made| !made.passes).count();
        let requests = self.foretold.requests.values().sum::<usize>();
        let Self { made, foretold, restarts, cut_agents, cut_users, ends, .. } = &self;
        let summary = json!({
            "calls": made.len(), "refused": refused, "token_requests": requests, "ahead": foretold.ahead,
            "restarts": restarts, "agents_revoked": cut_agents.len(), "users_revoked": cut_users.len(),
            "delegations": ends.len(),
        });
        assert!(requests < made.len() && refused > 0 && *restarts > 0, "the run shows nothing: {summary}");
    }

    fn judge_one(&self, seen: &Seen, number: usize, issuer: &str, owners: &mut BTreeMap<String, u64>) {
        let made = &self.made[number];
        let Pairing { agent, user, app } = made.pairing;
        let app = &APPS[app];
        assert!(seen.path.starts_with(&format!("/{}/", app.name)), "{number}: {}", seen.path);
        let all = format!("{:?} {:?} {:?}", seen.headers, seen.query, seen.body);
        assert!(
            made.inbound.iter().all(|inbound| !all.contains(inbound)),
            "{number}: the inbound credential"
        );
        let (header, prefix) = match app.shown {
            Shown::Secret { header, prefix } | Shown::Signed { header, prefix, .. } => (header, prefix),
            Shown::Token { .. } => ("authorization", "Bearer "),
        };
        for other in ["authorization", "x-api-key", "x-caller", "txn-token", "dpop", "cookie"] {
            let count = seen.headers.get_all(other).iter().count();
            assert_eq!(count, usize::from(other == header), "{number}: {other}");
        }
        let credential = seen.header(header).strip_prefix(prefix).unwrap();
        if let Shown::Secret { .. } = app.shown {
            assert_eq!(credential, secret_of(app.name));
            return;
        }
        let claims = TestAuthorizationServer::claims(credential);
        let (agent_id, user_id) = (agent_name(agent), user_name(user));
        assert_eq!(claims["aud"], app.name, "{number}");
        let acts = |claims: &Value| {
            assert_eq!(claims["sub"], user_id, "{number}: {claims}");
            assert_eq!(
                (&claims["act"]["sub"], claims["act"].get("act")),
                (&json!(agent_id), None),
                "{number}"
            );
        };
        match app.shown {
            Shown::Secret { .. } => {}
            Shown::Signed { request, .. } => {
                assert_eq!(claims["iss"], issuer, "{number}");
                assert_eq!(claims[request]["app"], app.name, "{number}");
                acts(&claims);
                assert!(owners.insert(claims["jti"].to_string(), agent).is_none(), "{number}: used twice");
            }
            Shown::Token { server, whose } => {
                assert_eq!(claims["iss"], self.town.server(server).issuer(), "{number}");
                assert_eq!(claims["scope"], made.scope, "{number}");
                match whose {
                    Whose::Everybodys => assert_eq!(claims["sub"], "gateway"),
                    Whose::Agents => {
                        assert_eq!(claims["sub"], "gateway");
                        // The token does not say whose it is: nobody else may ever have been seen with it.
                        let name = format!("{server:?} {}", claims["jti"]);
                        assert_eq!(*owners.entry(name).or_insert(agent), agent, "{number}: another agent's");
                    }
                    Whose::Delegations { .. } => acts(&claims),
                }
            }
        }
    }
}

fn ends(holder: &Holder) -> Moment {
    u64::try_from(holder.claims()["exp"].as_i64().unwrap()).unwrap() * 1_000
}

fn secret_of(name: &str) -> String {
    format!("the-{name}-secret")
}
