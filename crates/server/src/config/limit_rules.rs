use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vestibule_model::{AgentId, AppId, OperationId};

use super::{AppSettings, ConfigError, LimitsConfig, limits::within};

/// Most rules, rates and quotas together: each that matches is looked at with every call.
const RULES_MAX: usize = 100;
/// Most names in each list of `only`.
const ONLY_MAX: usize = 1_000;
/// Longest name of a rule.
const NAME_MAX: usize = 64;
const CALLS_MAX: u64 = 1_000_000;

/// How fast calls may follow each other. Counted in memory, anew after a start.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RateConfig {
    /// Its name, unique among rates and quotas: `[a-z0-9-]`, at most 64. Callers see it.
    pub name: String,
    /// Which calls are counted together: those of the same agent, user, app and operation, as far as named here. With
    /// none, all of them.
    pub per: BTreeSet<Per>,
    /// Which calls are counted at all; by default all.
    #[serde(default)]
    pub only: OnlyConfig,
    /// So many calls come back in `seconds`, one after the other. 1 to 1,000,000.
    pub calls: u64,
    /// In how many seconds. 1 to 3,600.
    pub seconds: u64,
    /// So many calls may come at once. 1 to 1,000,000; by default as many as `calls`.
    #[serde(default)]
    pub burst: Option<u64>,
}

/// How many permitted calls there may be in an hour or a day. Counted in the state, exactly and over restarts.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QuotaConfig {
    /// Its name, unique among rates and quotas: `[a-z0-9-]`, at most 64. Callers see it.
    pub name: String,
    /// Which calls are counted together: those of the same agent, user, app and operation, as far as named here. With
    /// none, all of them.
    pub per: BTreeSet<Per>,
    /// Which calls are counted at all; by default all.
    #[serde(default)]
    pub only: OnlyConfig,
    /// So many calls may be permitted. 1 to 1,000,000.
    pub calls: u64,
    /// In each `hour` of UTC, or each `day` of `policies.timezone`.
    pub per_period: Period,
}

/// What calls that are counted together have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Per {
    /// The agent that calls. One that is known by its key alone counts as the registered one that it comes from.
    Agent,
    /// The user for whom it calls. Calls for nobody are not counted.
    User,
    /// The application.
    App,
    /// The operation. What names none is not counted.
    Operation,
}

impl Per {
    /// Its text.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::User => "user",
            Self::App => "app",
            Self::Operation => "operation",
        }
    }
}

/// For how long a quota is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Period {
    /// An hour of UTC.
    Hour,
    /// A day of the configured time zone.
    Day,
}

impl Period {
    /// Its text.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }
}

/// Which calls a rule counts: what is named must fit. At most 1,000 names in each list.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OnlyConfig {
    /// Calls to one of these applications.
    pub apps: BTreeSet<String>,
    /// Calls of one of these operations, as policies name them: `{app}__{operation}`.
    pub operations: BTreeSet<String>,
    /// Calls of one of these agents, or of one in `groups`.
    pub agents: BTreeSet<String>,
    /// Calls of an agent in one of these groups, or of one in `agents`.
    pub groups: BTreeSet<String>,
}

/// Which calls a rule counts, and which together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Its name.
    pub name: Arc<str>,
    /// What calls that are counted together have in common.
    pub per: BTreeSet<Per>,
    /// Which calls are counted.
    pub only: Only,
}

/// Which calls a rule counts. What is empty asks for nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Only {
    /// Calls to one of these applications.
    pub apps: BTreeSet<AppId>,
    /// Calls of one of these operations.
    pub operations: BTreeSet<OperationId>,
    /// Calls of one of these agents, or of one in `groups`.
    pub agents: BTreeSet<AgentId>,
    /// Calls of an agent in one of these groups, or of one in `agents`.
    pub groups: BTreeSet<String>,
}

/// A checked rate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rate {
    /// Which calls.
    pub rule: Rule,
    /// So many come back in `seconds`.
    pub calls: u32,
    /// In how many seconds.
    pub seconds: u32,
    /// So many may come at once.
    pub burst: u32,
}

/// A checked quota.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quota {
    /// Which calls.
    pub rule: Rule,
    /// So many may be permitted.
    pub calls: u64,
    /// In each hour or day.
    pub period: Period,
}

/// Checks all rules together, against the applications that there are.
pub(super) fn check(
    limits: &LimitsConfig,
    apps: &[AppSettings],
    timezone: &str,
) -> Result<(Vec<Rate>, Vec<Quota>), ConfigError> {
    let count = limits.rates.len() + limits.quotas.len();
    if count > RULES_MAX {
        let message = format!("has {count} rules with the quotas, must have at most {RULES_MAX}");
        return Err(ConfigError::value("limits.rates", message));
    }
    let mut names = HashSet::new();
    let rates = limits.rates.iter().map(|rate| rate.check(&mut names, apps)).collect::<Result<_, _>>()?;
    let quotas: Vec<Quota> =
        limits.quotas.iter().map(|quota| quota.check(&mut names, apps)).collect::<Result<_, _>>()?;
    if quotas.iter().any(|quota| quota.period == Period::Day) && TimeZone::get(timezone).is_err() {
        let message = format!("the time zone `{timezone}`, whose days `limits.quotas` count, is unknown");
        return Err(ConfigError::value("policies.timezone", message));
    }
    Ok((rates, quotas))
}

impl RateConfig {
    fn check<'a>(&'a self, names: &mut HashSet<&'a str>, apps: &[AppSettings]) -> Result<Rate, ConfigError> {
        let key = format!("limits.rates.{}", self.name);
        let rule = rule(&key, &self.name, &self.per, &self.only, (names, apps))?;
        let number = |name: &str, value: u64, most: u64| {
            within(&format!("{key}.{name}"), value, 1, most)?;
            Ok(u32::try_from(value).unwrap_or(u32::MAX))
        };
        Ok(Rate {
            rule,
            calls: number("calls", self.calls, CALLS_MAX)?,
            seconds: number("seconds", self.seconds, 3_600)?,
            burst: number("burst", self.burst.unwrap_or(self.calls), CALLS_MAX)?,
        })
    }
}

impl QuotaConfig {
    fn check<'a>(&'a self, names: &mut HashSet<&'a str>, apps: &[AppSettings]) -> Result<Quota, ConfigError> {
        let key = format!("limits.quotas.{}", self.name);
        let rule = rule(&key, &self.name, &self.per, &self.only, (names, apps))?;
        within(&format!("{key}.calls"), self.calls, 1, CALLS_MAX)?;
        Ok(Quota { rule, calls: self.calls, period: self.per_period })
    }
}

fn rule<'a>(
    key: &str,
    name: &'a str,
    per: &BTreeSet<Per>,
    only: &OnlyConfig,
    (names, apps): (&mut HashSet<&'a str>, &[AppSettings]),
) -> Result<Rule, ConfigError> {
    let is_good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if name.is_empty() || name.len() > NAME_MAX || !name.bytes().all(is_good) {
        return Err(ConfigError::value(format!("{key}.name"), "must match `[a-z0-9-]{1,64}`"));
    }
    if !names.insert(name) {
        let message = "is the name of another rate or quota, too: give each its own";
        return Err(ConfigError::value(format!("{key}.name"), message));
    }
    Ok(Rule { name: name.into(), per: per.clone(), only: only.check(&format!("{key}.only"), apps)? })
}

impl OnlyConfig {
    fn check(&self, key: &str, apps: &[AppSettings]) -> Result<Only, ConfigError> {
        for (name, list) in [
            ("apps", &self.apps),
            ("operations", &self.operations),
            ("agents", &self.agents),
            ("groups", &self.groups),
        ] {
            if list.len() > ONLY_MAX {
                let message = format!("has {} names, must have at most {ONLY_MAX}", list.len());
                return Err(ConfigError::value(format!("{key}.{name}"), message));
            }
        }
        let agent = |id: &String| {
            AgentId::new(id).map_err(|error| ConfigError::value(format!("{key}.agents"), error.to_string()))
        };
        Ok(Only {
            apps: self
                .apps
                .iter()
                .map(|id| known(&format!("{key}.apps"), id, apps).map(|app| app.id.clone()))
                .collect::<Result<_, _>>()?,
            operations: self
                .operations
                .iter()
                .map(|name| operation(&format!("{key}.operations"), name, apps))
                .collect::<Result<_, _>>()?,
            agents: self.agents.iter().map(agent).collect::<Result<_, _>>()?,
            groups: self.groups.clone(),
        })
    }
}

fn known<'a>(key: &str, id: &str, apps: &'a [AppSettings]) -> Result<&'a AppSettings, ConfigError> {
    apps.iter().find(|app| app.id.as_str() == id).ok_or_else(|| {
        ConfigError::value(key, format!("`{id}` is no application: name one of `apps`, or leave it out"))
    })
}

/// Which operations an MCP server has it says itself, so what is unknown there is found out by a running gateway only.
fn operation(key: &str, name: &str, apps: &[AppSettings]) -> Result<OperationId, ConfigError> {
    let Some((app, operation)) = name.split_once("__") else {
        return Err(ConfigError::value(key, format!("`{name}` must be `{{app}}__{{operation}}`")));
    };
    let app = known(key, app, apps)?;
    if let Some(routes) = &app.routes
        && !routes.operations().iter().any(|known| &*known.name == operation)
    {
        let message = format!("`{}` has no operation `{operation}`: `vestibule app show` lists them", app.id);
        return Err(ConfigError::value(key, message));
    }
    Ok(OperationId::new(app.id.clone(), operation))
}
