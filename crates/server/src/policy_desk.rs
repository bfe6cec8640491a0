//! The questions of `vestibule policy …`: one implementation for the admin API and for a folder without a running
//! gateway.

use std::{
    collections::{BTreeMap, BTreeSet},
    iter,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde::Deserialize;
use serde_json::{Value, json};
use vestibule_model::{Agent, AgentId, AppId, Clock, Directory, OperationId, Timestamp, UserId};
use vestibule_policy::{Catalog, Deed, Hypothesis, Lock, Options, PolicyFile, PolicySet, Problem};
use vestibule_store::{By, Kind, SqliteStore, Store};

use crate::{
    apps::Apps,
    config::{FILE_NAME, Settings},
    policies::read_folder,
};

/// Stands for the gateway's URL where none runs.
const PLACE: &str = "http://localhost";
/// The end of the name of a file with test cases, beside the policies.
const CASES: &str = ".tests.json";

/// Everything that the questions are answered from.
pub(crate) struct Desk {
    /// The lock that decides now, if a gateway runs.
    pub(crate) lock: Option<Arc<Lock>>,
    pub(crate) catalog: Catalog,
    pub(crate) directory: Arc<Directory>,
    pub(crate) options: Options,
    /// Where the policies lie, unless a question brings its own.
    pub(crate) folder: PathBuf,
    pub(crate) scope_claims: BTreeMap<String, BTreeSet<String>>,
    /// The issuer that a token would come from.
    pub(crate) issuer: String,
    pub(crate) now: Timestamp,
}

/// A question.
#[derive(Debug)]
pub(crate) enum Question {
    Check(Check),
    Explain(Box<Explain>),
    Test(Test),
    Applicable(Applicable),
}

/// A file that a question brings along.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Brought {
    name: String,
    text: String,
}

/// Do these policies load?
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Check {
    pub(crate) files: Option<Vec<Brought>>,
}

/// Why would this call be permitted or denied?
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Explain {
    agent: AgentId,
    /// The agents above it, from the root on.
    #[serde(default)]
    ancestors: Vec<AgentId>,
    #[serde(default)]
    user: Option<UserId>,
    #[serde(default)]
    user_groups: BTreeSet<String>,
    /// `{app}__{name}`. Either this or `delegate`.
    #[serde(default)]
    operation: Option<String>,
    #[serde(default)]
    arguments: Value,
    /// Handing something on, in place of an operation.
    #[serde(default)]
    delegate: Option<Delegate>,
    /// The scopes that the token would have; without any: all that the agent may ask for.
    #[serde(default)]
    scopes: Option<BTreeSet<String>>,
    #[serde(default)]
    ip: Option<IpAddr>,
    /// Milliseconds since the Unix epoch; without: now.
    #[serde(default)]
    at: Option<Timestamp>,
    #[serde(default)]
    files: Option<Vec<Brought>>,
}

/// What would be handed on, and to whom.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Delegate {
    child: AgentId,
    /// How deep the child would be; without: one below the agent.
    #[serde(default)]
    depth: Option<usize>,
    /// For how many seconds; without: an hour.
    #[serde(default)]
    expires: Option<u64>,
    #[serde(default)]
    operations: BTreeSet<String>,
}

/// Do the cases beside the policies come out as they say?
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Test {
    pub(crate) files: Option<Vec<Brought>>,
}

/// What may this pair do?
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Applicable {
    agent: AgentId,
    #[serde(default)]
    user: Option<UserId>,
    #[serde(default)]
    user_groups: BTreeSet<String>,
}

impl Desk {
    /// A desk for the folder of a gateway that need not run.
    pub(crate) async fn of_folder(dir: &Path, clock: Arc<dyn Clock>) -> Result<Self, String> {
        let settings = Settings::read(&dir.join(FILE_NAME)).map_err(|error| error.to_string())?;
        let store = SqliteStore::open(&settings.state_folder, Arc::clone(&clock))
            .map_err(|error| error.to_string())?;
        let apps = Apps::new(&settings, PLACE);
        apps.recall(&store).await.map_err(|error| error.to_string())?;
        let directory = agents(&store).await.map_err(|error| error.to_string())?;
        Ok(Self {
            lock: None,
            catalog: apps.catalog(),
            directory: Arc::new(directory),
            options: Options { timezone: settings.timezone },
            folder: settings.policies_folder,
            scope_claims: settings.scope_claims,
            issuer: PLACE.to_owned(),
            now: clock.now(),
        })
    }

    pub(crate) fn answer(&self, question: Question) -> Result<Value, String> {
        match question {
            Question::Check(check) => Ok(self.check(check.files)),
            Question::Explain(explain) => self.explain(*explain),
            Question::Test(test) => self.test(test.files),
            Question::Applicable(applicable) => {
                let lock = self.lock(None)?;
                let applicable =
                    lock.applicable(&applicable.agent, applicable.user.as_ref(), &applicable.user_groups);
                Ok(json!(applicable.map_err(|error| error.to_string())?))
            }
        }
    }

    fn load(&self, files: Option<Vec<Brought>>) -> Result<PolicySet, Vec<Problem>> {
        let files = match files {
            Some(files) => policies(&files),
            None => read_folder(&self.folder).map_err(|problem| vec![problem])?,
        };
        PolicySet::load(&files, &self.catalog, &self.options)
    }

    /// The lock that decides now, or the one that these files make.
    fn lock(&self, files: Option<Vec<Brought>>) -> Result<Arc<Lock>, String> {
        match (&self.lock, &files) {
            (Some(lock), None) => Ok(Arc::clone(lock)),
            (_, _) => {
                let set = self.load(files).map_err(|problems| told(&problems))?;
                Ok(Arc::new(Lock::new(Some(set), Arc::clone(&self.directory))))
            }
        }
    }

    fn check(&self, files: Option<Vec<Brought>>) -> Value {
        match self.load(files) {
            Ok(set) => json!({
                "ok": true, "digest": set.digest(), "policies": set.len(), "warnings": set.warnings(), "problems": [],
            }),
            Err(problems) => json!({ "ok": false, "problems": problems, "warnings": [] }),
        }
    }

    fn explain(&self, asked: Explain) -> Result<Value, String> {
        let lock = self.lock(asked.files)?;
        // An agent that is known by its key alone has the scopes and claims of the nearest registered one above it.
        let agent = iter::once(&asked.agent)
            .chain(asked.ancestors.iter().rev())
            .find_map(|agent| self.directory.get(agent))
            .ok_or_else(|| format!("no such agent: `{}`", asked.agent))?;
        let scopes = asked.scopes.unwrap_or_else(|| agent.scopes.clone());
        let deed = match (asked.operation, asked.delegate) {
            (Some(name), None) => {
                Deed::Call { operation: operation(&name)?, arguments: arguments(&asked.arguments)? }
            }
            (None, Some(delegate)) => Deed::Delegate {
                child: delegate.child,
                depth: delegate.depth.unwrap_or(asked.ancestors.len() + 2),
                lifetime: Duration::from_secs(delegate.expires.unwrap_or(3_600)),
                operations: delegate.operations,
            },
            (_, _) => return Err("say an `operation`, or what to `delegate`".to_owned()),
        };
        let hypothesis = Hypothesis {
            claims: self.released(agent, &scopes),
            agent: asked.agent,
            ancestors: asked.ancestors,
            user: asked.user,
            user_groups: asked.user_groups,
            issuer: self.issuer.clone(),
            audience: String::new(),
            authority: None,
            deed,
            scopes,
            ip: asked.ip,
            at: asked.at.unwrap_or(self.now),
        };
        let explanation = lock.explain(&hypothesis, Some(&self.claim_scopes()));
        Ok(json!(explanation.map_err(|error| error.to_string())?))
    }

    fn test(&self, files: Option<Vec<Brought>>) -> Result<Value, String> {
        let cases = match &files {
            Some(files) => files
                .iter()
                .filter(|file| file.name.ends_with(CASES))
                .map(|file| (file.name.clone(), file.text.clone()))
                .collect(),
            None => read_cases(&self.folder)?,
        };
        let set = Arc::new(self.load(files).map_err(|problems| told(&problems))?);
        let mut results = Vec::new();
        for (name, text) in cases {
            let ran = vestibule_policy::run_cases(&set, &self.directory, &text)
                .map_err(|error| format!("{name}: {error}"))?;
            results.extend(ran.into_iter().map(|result| json!({ "file": name, "result": result })));
        }
        Ok(json!({ "items": results }))
    }

    /// The claims that enter a token with these scopes.
    fn released(&self, agent: &Agent, scopes: &BTreeSet<String>) -> BTreeMap<String, BTreeSet<String>> {
        let released: BTreeSet<&String> =
            scopes.iter().filter_map(|scope| self.scope_claims.get(scope)).flatten().collect();
        agent
            .claims
            .iter()
            .filter(|(name, _)| released.contains(name))
            .map(|(name, values)| (name.clone(), values.clone()))
            .collect()
    }

    /// By claim, the scopes that release it.
    fn claim_scopes(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut scopes: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (scope, claims) in &self.scope_claims {
            for claim in claims {
                scopes.entry(claim.clone()).or_default().insert(scope.clone());
            }
        }
        scopes
    }
}

fn policies(files: &[Brought]) -> Vec<PolicyFile> {
    let is_policy = |file: &&Brought| file.name.ends_with(".cedar");
    files
        .iter()
        .filter(is_policy)
        .map(|file| PolicyFile { name: file.name.clone(), text: file.text.clone() })
        .collect()
}

fn told(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// `{app}__{name}`, as policies write it.
fn operation(text: &str) -> Result<OperationId, String> {
    let (app, name) = text.split_once("__").ok_or("`operation` must be `app__name`")?;
    Ok(OperationId::new(AppId::new(app).map_err(|error| error.to_string())?, name))
}

/// The arguments of a hypothesis, through the one parse.
fn arguments(value: &Value) -> Result<vestibule_model::json::Json, String> {
    let text = if value.is_null() { "{}".to_owned() } else { value.to_string() };
    vestibule_model::json::parse(text.as_bytes(), 64).map_err(|error| error.to_string())
}

/// The files of cases in a folder, in order of their names.
pub(crate) fn read_cases(folder: &Path) -> Result<Vec<(String, String)>, String> {
    let mut cases = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|error| format!("`{}`: {error}", folder.display()))? {
        let path = entry.map_err(|error| error.to_string())?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        if name.ends_with(CASES) {
            let text =
                std::fs::read_to_string(&path).map_err(|error| format!("`{}`: {error}", path.display()))?;
            cases.push((name, text));
        }
    }
    cases.sort();
    Ok(cases)
}

async fn agents(store: &dyn Store) -> Result<Directory, vestibule_store::StoreError> {
    const PAGE: u32 = 1_000;
    let mut agents: Vec<Arc<Agent>> = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = store.scan(Kind::Agent, By::All, after.as_deref(), PAGE).await?;
        for record in &page {
            agents.push(Arc::new(record.decode()?));
        }
        match page.last() {
            Some(last) if page.len() == PAGE as usize => after = Some(last.key.clone()),
            Some(_) | None => return Ok(agents.into_iter().collect()),
        }
    }
}
