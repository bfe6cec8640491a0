//! The operations that policies are about, as the policy set keeps them.

use std::{collections::HashMap, sync::Arc};

use cedar_policy::Entities;
use serde_json::{Map, Value, json};
use vestibule_model::{AppId, AppKind, Operation, OperationId};

use crate::{
    engine::{self, CALL, DELEGATE, EngineError},
    problem::Problem,
    schema::Input,
    target::Target,
};

/// The operations of one application.
#[derive(Debug, Clone, PartialEq)]
pub struct AppOperations {
    /// The application.
    pub app: AppId,
    /// How it is spoken to.
    pub kind: AppKind,
    /// Its operations, by distinct names. What `resources/read` and `prompts/get` take is described like any tool's
    /// arguments.
    pub operations: Vec<Operation>,
}

/// All applications.
pub type Catalog = Vec<AppOperations>;

/// One operation, ready to be decided about.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) id: OperationId,
    pub(crate) operation: Operation,
    /// What policies see of it.
    pub(crate) target: Arc<Target>,
}

/// One application with the positions of its operations.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) id: AppId,
    pub(crate) entries: std::ops::Range<usize>,
    /// The entities of all of its operations at once, for listing.
    pub(crate) entities: Entities,
}

/// The catalog with everything derived from it.
#[derive(Debug, Default)]
pub(crate) struct Operations {
    pub(crate) apps: Vec<App>,
    pub(crate) entries: Vec<Entry>,
    by_id: HashMap<OperationId, usize>,
}

impl Operations {
    /// Derives it. One bad definition never costs the others: its operation takes no arguments, and a warning says so.
    pub(crate) fn of(catalog: &Catalog, problems: &mut Vec<Problem>) -> Self {
        let mut all = Self::default();
        for listed in catalog {
            let place = format!("app {}", listed.app);
            let is_reserved = [CALL, DELEGATE].contains(&listed.app.as_str());
            if is_reserved || all.app(&listed.app).is_some() {
                let why = format!("the application id `{}` is reserved or used twice", listed.app);
                problems.push(Problem::error(&place, why).help("give the application another id"));
                continue;
            }
            if let Err(error) = all.add_app(listed, &place, problems) {
                problems.push(Problem::error(&place, error));
            }
        }
        all
    }

    fn add_app(
        &mut self,
        listed: &AppOperations,
        place: &str,
        problems: &mut Vec<Problem>,
    ) -> Result<(), EngineError> {
        let first = self.entries.len();
        let above = engine::app_entities(&listed.app, listed.kind)?;
        let mut all = above.clone();
        for operation in &listed.operations {
            let id = OperationId::new(listed.app.clone(), &operation.name);
            let input = Input::of(&operation.input_schema).unwrap_or_else(|why| {
                let warning =
                    Problem::warning(place, format!("{why}: it can be called without arguments only"));
                problems
                    .push(warning.of(&operation.name).help("correct its input schema, or ask its vendor to"));
                Input::default()
            });
            if self.by_id.contains_key(&id) {
                let warning =
                    Problem::warning(place, "the name is used twice: the second definition is ignored");
                problems.push(warning.of(&operation.name));
                continue;
            }
            let mut entities = engine::operation_entities(&id, operation)?;
            all.extend(entities.iter().cloned());
            entities.extend(above.iter().cloned());
            self.by_id.insert(id.clone(), self.entries.len());
            let target = Target {
                name: id.to_string(),
                action: engine::action_uid(&id.to_string()),
                groups: vec![engine::action_uid(id.app.as_str()), engine::action_uid(CALL)],
                resource: engine::operation_uid(&id),
                above: vec![engine::app_uid(&id.app)],
                input,
                scopes: operation.scopes.clone(),
                entities,
            };
            self.entries.push(Entry { operation: operation.clone(), target: Arc::new(target), id });
        }
        let entities = engine::store(all)?;
        self.apps.push(App { id: listed.app.clone(), entries: first..self.entries.len(), entities });
        Ok(())
    }

    pub(crate) fn find(&self, id: &OperationId) -> Option<(usize, &Entry)> {
        let position = *self.by_id.get(id)?;
        self.entries.get(position).map(|entry| (position, entry))
    }

    pub(crate) fn app(&self, id: &AppId) -> Option<(usize, &App)> {
        self.apps.iter().enumerate().find(|(_, app)| app.id == *id)
    }

    /// The operations of an application with their positions.
    pub(crate) fn of_app<'a>(&'a self, app: &App) -> impl Iterator<Item = (usize, &'a Entry)> {
        app.entries.clone().filter_map(|position| Some((position, self.entries.get(position)?)))
    }

    /// The generated actions, in Cedar's JSON schema format: action ids and attribute names may be any text there.
    pub(crate) fn to_cedar(&self) -> Value {
        let mut actions = Map::new();
        for app in &self.apps {
            actions.insert(app.id.to_string(), json!({ "memberOf": [{ "id": CALL }] }));
        }
        for entry in &self.entries {
            let action = json!({
                "memberOf": [{ "id": entry.id.app.as_str() }],
                "appliesTo": {
                    "principalTypes": ["Agent", "User"],
                    "resourceTypes": ["Operation"],
                    "context": { "type": "Record", "attributes": {
                        "input": entry.target.input.to_cedar(),
                        "caller": { "type": "Caller" },
                        "token": { "type": "TokenFacts" },
                        "env": { "type": "Env" },
                    } },
                },
            });
            actions.insert(entry.id.to_string(), action);
        }
        json!({ "": { "entityTypes": {}, "actions": actions } })
    }
}

/// The names of operations, shared.
pub(crate) type Names = std::collections::HashSet<Arc<str>>;
