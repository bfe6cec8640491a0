use std::{collections::BTreeMap, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vestibule_containment::breaker::{Rest, Share, Thresholds, UpstreamThresholds};
use vestibule_model::{AgentId, AppId, Directory};

use super::{ConfigError, limits::within};

/// When agents and applications are suspended by themselves.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BreakersConfig {
    /// The breakers of agents.
    pub agents: AgentBreakersConfig,
    /// The breakers of applications.
    pub upstreams: UpstreamBreakersConfig,
}

/// The breakers of agents. What is not said in `agents` or `groups` is as in `default`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AgentBreakersConfig {
    /// Of every agent.
    pub default: AgentBreakerConfig,
    /// Of the agents of a group, by its name. Of several groups, the first in alphabetical order.
    pub groups: BTreeMap<String, AgentBreakerConfig>,
    /// Of one agent, by its id.
    pub agents: BTreeMap<String, AgentBreakerConfig>,
}

/// When the breaker of an agent opens, and for how long.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AgentBreakerConfig {
    /// What is counted is forgotten after this time, in seconds. 10 to 3,600; 60 where nothing is said.
    pub window_seconds: Option<u64>,
    /// The share of operations that policy denies. 50 % of at least 20 where nothing is said.
    pub denials: Option<ShareConfig>,
    /// The share of operations that the application answers with an error of the caller. Not judged where nothing is said.
    pub errors: Option<ShareConfig>,
    /// Most attempts within the window. 1 to 10,000,000; not judged where nothing is said.
    pub calls_max: Option<u64>,
    /// Most distinct operations within the window. 1 to 1,000; not judged where nothing is said.
    pub operations_max: Option<u64>,
    /// Most bytes of requests and replies within the window. 1 KiB to 1 TiB; not judged where nothing is said.
    pub bytes_max: Option<u64>,
    /// How long it stays open at first, in seconds. 1 to 3,600; 60 where nothing is said.
    pub open_seconds: Option<u64>,
    /// How long it stays open at most, after probes that were denied, in seconds. `open_seconds` to 86,400; 3,600 where nothing
    /// is said.
    pub open_max_seconds: Option<u64>,
    /// How many calls are let through to see whether it may close. 1 to 100; 1 where nothing is said.
    pub probes: Option<u32>,
}

/// A share of calls, judged only when there were at least so many.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShareConfig {
    /// From this share on the breaker opens, in percent. 1 to 100.
    pub percent: u8,
    /// With fewer calls within the window it does not. 5 to 100,000.
    pub calls_min: u64,
}

/// The breakers of applications. What is not said in `apps` is as in `default`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UpstreamBreakersConfig {
    /// Of every application.
    pub default: UpstreamBreakerConfig,
    /// Of one application, by its id.
    pub apps: BTreeMap<String, UpstreamBreakerConfig>,
}

/// When the breaker of an application opens, and for how long.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UpstreamBreakerConfig {
    /// What is counted is forgotten after this time, in seconds. 10 to 3,600; 30 where nothing is said.
    pub window_seconds: Option<u64>,
    /// The share of calls that cannot connect, get no answer in time, or a 5xx. 50 % of at least 20 where nothing is said.
    pub failures: Option<ShareConfig>,
    /// How long it stays open at first, in seconds. 1 to 3,600; 10 where nothing is said.
    pub open_seconds: Option<u64>,
    /// How long it stays open at most, after probes that failed, in seconds. `open_seconds` to 86,400; 300 where nothing is
    /// said.
    pub open_max_seconds: Option<u64>,
    /// How many calls are let through to see whether it may close. 1 to 100; 1 where nothing is said.
    pub probes: Option<u32>,
}

/// The checked thresholds.
#[derive(Debug, Clone)]
pub struct BreakerSettings {
    default: Thresholds,
    groups: BTreeMap<String, Thresholds>,
    agents: BTreeMap<AgentId, Thresholds>,
    /// Of every application.
    pub(crate) upstreams: BTreeMap<AppId, UpstreamThresholds>,
}

const AGENT: Thresholds = Thresholds {
    window: Duration::from_secs(60),
    denials: Some(Share { percent: 50, calls_min: 20 }),
    errors: None,
    calls: None,
    operations: None,
    bytes: None,
    rest: Rest { open: Duration::from_secs(60), open_max: Duration::from_secs(3_600), probes: 1 },
};

const UPSTREAM: UpstreamThresholds = UpstreamThresholds {
    window: Duration::from_secs(30),
    failures: Share { percent: 50, calls_min: 20 },
    rest: Rest { open: Duration::from_secs(10), open_max: Duration::from_secs(300), probes: 1 },
};

impl BreakersConfig {
    pub(super) fn check<'a>(
        &self,
        apps: impl Iterator<Item = &'a AppId>,
    ) -> Result<BreakerSettings, ConfigError> {
        let default = self.agents.default.over(&AGENT, "breakers.agents.default")?;
        let groups = self.agents.groups.iter().map(|(name, config)| {
            Ok((name.clone(), config.over(&default, &format!("breakers.agents.groups.{name}"))?))
        });
        let agents = self.agents.agents.iter().map(|(id, config)| {
            let key = format!("breakers.agents.agents.{id}");
            let agent = AgentId::new(id).map_err(|error| ConfigError::value(&key, error.to_string()))?;
            Ok((agent, config.over(&default, &key)?))
        });
        let (groups, agents) = (groups.collect::<Result<_, _>>()?, agents.collect::<Result<_, _>>()?);
        let usual = self.upstreams.default.over(&UPSTREAM, "breakers.upstreams.default")?;
        let mut upstreams: BTreeMap<_, _> = apps.map(|app| (app.clone(), usual)).collect();
        for (id, config) in &self.upstreams.apps {
            let key = format!("breakers.upstreams.apps.{id}");
            let own = config.over(&usual, &key)?;
            let found = upstreams.iter_mut().find(|(app, _)| app.as_str() == id);
            let unknown = || ConfigError::value(&key, "is no application; name one of `apps`");
            *found.ok_or_else(unknown)?.1 = own;
        }
        Ok(BreakerSettings { default, groups, agents, upstreams })
    }
}

impl BreakerSettings {
    /// The thresholds of an agent that is registered or stands in by a rule: its own, else those of its first group that has some, else those of all.
    pub(crate) fn of(&self, agent: &AgentId, directory: &Directory) -> Thresholds {
        if let Some(own) = self.agents.get(agent) {
            return *own;
        }
        if self.groups.is_empty() {
            return self.default;
        }
        let agent = directory.find(agent);
        let groups = agent.as_ref().map(|agent| &agent.groups);
        let of_group = groups.into_iter().flatten().find_map(|group| self.groups.get(group));
        *of_group.unwrap_or(&self.default)
    }
}

impl AgentBreakerConfig {
    fn over(&self, usual: &Thresholds, key: &str) -> Result<Thresholds, ConfigError> {
        let most = |name: &str, given: Option<u64>, low, high, usual: Option<u64>| {
            given
                .map(|value| within(&format!("{key}.{name}"), value, low, high).map(|()| value))
                .transpose()
                .map(|given| given.or(usual))
        };
        let share = |name: &str, given: Option<ShareConfig>, usual: Option<Share>| {
            given.map(|share| share.check(&format!("{key}.{name}"))).transpose().map(|given| given.or(usual))
        };
        Ok(Thresholds {
            window: window(key, self.window_seconds, usual.window)?,
            denials: share("denials", self.denials, usual.denials)?,
            errors: share("errors", self.errors, usual.errors)?,
            calls: most("calls_max", self.calls_max, 1, 10_000_000, usual.calls)?,
            operations: most("operations_max", self.operations_max, 1, 1_000, usual.operations)?,
            bytes: most("bytes_max", self.bytes_max, 1 << 10, 1 << 40, usual.bytes)?,
            rest: rest(key, (self.open_seconds, self.open_max_seconds, self.probes), usual.rest)?,
        })
    }
}

impl UpstreamBreakerConfig {
    fn over(&self, usual: &UpstreamThresholds, key: &str) -> Result<UpstreamThresholds, ConfigError> {
        let failures = self.failures.map(|share| share.check(&format!("{key}.failures"))).transpose()?;
        Ok(UpstreamThresholds {
            window: window(key, self.window_seconds, usual.window)?,
            failures: failures.unwrap_or(usual.failures),
            rest: rest(key, (self.open_seconds, self.open_max_seconds, self.probes), usual.rest)?,
        })
    }
}

impl ShareConfig {
    fn check(self, key: &str) -> Result<Share, ConfigError> {
        within(&format!("{key}.percent"), self.percent.into(), 1, 100)?;
        within(&format!("{key}.calls_min"), self.calls_min, 5, 100_000)?;
        Ok(Share { percent: self.percent, calls_min: self.calls_min })
    }
}

fn window(key: &str, given: Option<u64>, usual: Duration) -> Result<Duration, ConfigError> {
    let seconds = given.unwrap_or(usual.as_secs());
    within(&format!("{key}.window_seconds"), seconds, 10, 3_600)?;
    Ok(Duration::from_secs(seconds))
}

fn rest(
    key: &str,
    (open, open_max, probes): (Option<u64>, Option<u64>, Option<u32>),
    usual: Rest,
) -> Result<Rest, ConfigError> {
    let open = open.unwrap_or(usual.open.as_secs());
    within(&format!("{key}.open_seconds"), open, 1, 3_600)?;
    let open_max = open_max.unwrap_or(usual.open_max.as_secs().max(open));
    within(&format!("{key}.open_max_seconds"), open_max, open, 86_400)?;
    let probes = probes.unwrap_or(usual.probes);
    within(&format!("{key}.probes"), probes.into(), 1, 100)?;
    Ok(Rest { open: Duration::from_secs(open), open_max: Duration::from_secs(open_max), probes })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, from_value, json};
    use vestibule_model::{Agent, AgentState, Timestamp};

    use super::*;

    fn check(config: Value) -> Result<BreakerSettings, String> {
        let apps = [AppId::new("app").unwrap()];
        from_value::<BreakersConfig>(config).unwrap().check(apps.iter()).map_err(|error| error.to_string())
    }

    fn agent(id: &str, groups: &[&str]) -> Arc<Agent> {
        Arc::new(Agent {
            id: AgentId::new(id).unwrap(),
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            trust: 0,
            scopes: Default::default(),
            claims: BTreeMap::new(),
            apps: Default::default(),
            state: AgentState::Active,
            created_at: Timestamp::from_millis(0),
        })
    }

    #[test]
    fn an_agent_is_measured_by_its_own_thresholds_then_by_its_groups_then_by_those_of_all() {
        let settings = check(json!({ "agents": {
            "default": { "window_seconds": 30, "probes": 2 },
            "groups": { "b": { "calls_max": 10 }, "c": { "calls_max": 20 } },
            "agents": { "own": { "denials": { "percent": 10, "calls_min": 5 } } },
        } }))
        .unwrap();
        let directory: Directory =
            [agent("own", &["b"]), agent("two", &["a", "c", "b"]), agent("none", &[])].into_iter().collect();
        let of = |id: &str| settings.of(&AgentId::new(id).unwrap(), &directory);
        assert_eq!((of("own").calls, of("own").denials.unwrap().percent), (None, 10));
        assert_eq!((of("two").calls, of("none").calls, of("unknown").calls), (Some(10), None, None));
        for id in ["own", "two", "none"] {
            assert_eq!((of(id).window.as_secs(), of(id).rest.probes), (30, 2), "{id}");
        }
    }

    #[test]
    fn what_is_out_of_bounds_is_refused_with_its_key() {
        for (config, expected) in [
            (
                json!({ "agents": { "default": { "window_seconds": 9 } } }),
                "breakers.agents.default.window_seconds",
            ),
            (
                json!({ "agents": { "groups": { "g": { "denials": { "percent": 0, "calls_min": 5 } } } } }),
                "breakers.agents.groups.g.denials.percent",
            ),
            (
                json!({ "agents": { "agents": { "a": { "errors": { "percent": 9, "calls_min": 4 } } } } }),
                "breakers.agents.agents.a.errors.calls_min",
            ),
            (json!({ "agents": { "agents": { "a b": {} } } }), "breakers.agents.agents.a b"),
            (json!({ "agents": { "default": { "operations_max": 1001 } } }), "operations_max"),
            (
                json!({ "agents": { "default": { "open_seconds": 60, "open_max_seconds": 59 } } }),
                "open_max_seconds",
            ),
            (json!({ "upstreams": { "default": { "probes": 0 } } }), "breakers.upstreams.default.probes"),
            (json!({ "upstreams": { "apps": { "other": {} } } }), "is no application; name one of `apps`"),
        ] {
            let said = check(config.clone()).unwrap_err();
            assert!(said.contains(expected), "{config}: {said}");
        }
    }
}
