//! How often: rates and quotas, which the configuration sets for agents, users, applications and operations.
//!
//! Two kinds, each honest about what it can promise. A **rate** is counted in memory and by attempt, permitted or not: it
//! holds exactly in this process, begins anew with it, and goes on without the store. A **quota** is counted in the store
//! and by permitted call: it holds exactly over restarts, and denies where the store cannot be reached.
//!
//! Against: an agent that runs wild, alone or by spawning others. An agent that is known by its key alone has no counter of
//! its own, so neither what it may do nor what has to be remembered grows with how many of them there are.

mod asking;
mod cells;
mod quotas;
mod rates;
mod refused;
mod ticks;

use std::sync::Arc;

use serde::Serialize;
use vestibule_model::{Clock, Directory, Fault, OperationId, Stop};
use vestibule_policy::Permit;
use vestibule_store::Store;

use self::{asking::Key, quotas::Quotas, rates::Rates};
use crate::{
    apps::Apps,
    config::{Quota, Rate, Rule, Settings},
};

pub(crate) use asking::Asking;

/// All rates and quotas.
#[derive(Debug)]
pub(crate) struct Limits {
    rates: Rates,
    quotas: Quotas,
}

/// What one caller has used of a limit.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Standing {
    pub(crate) key: Key,
    /// Calls that are counted.
    pub(crate) used: u64,
    /// Calls that may be: of a rate at once, of a quota in its period.
    pub(crate) of: u64,
    /// Until it is as if there had been none.
    pub(crate) resets_in_seconds: u64,
}

impl Limits {
    pub(crate) fn new(settings: &Settings, store: &Arc<dyn Store>, clock: &Arc<dyn Clock>) -> Self {
        Self {
            rates: Rates::new(&settings.rates, clock),
            quotas: Quotas::new(&settings.quotas, &settings.timezone, store, clock),
        }
    }

    /// Counts an attempt that policy has decided about, and hands its permit on if there is room.
    ///
    /// Rates count it whatever was decided; what policy denies stays denied for that reason, so a limit tells nobody
    /// that an operation exists. Quotas count what nothing else has refused. What was counted stays counted, whatever
    /// becomes of the call.
    pub(crate) async fn charge(
        &self,
        asking: &Asking<'_>,
        directory: &Directory,
        decided: Result<Permit, Stop>,
    ) -> Result<Permit, Stop> {
        let charged = self.rates.charge(asking, directory);
        let permit = decided?;
        charged?;
        if asking.operation.is_some() {
            self.quotas.charge(asking, directory).await?;
        }
        Ok(permit)
    }

    /// Forgets what need not be remembered any longer.
    pub(crate) fn tidy(&self) {
        self.rates.tidy();
    }

    pub(crate) fn rates(&self) -> impl Iterator<Item = &Rate> {
        self.rates.configured()
    }

    pub(crate) fn quotas(&self) -> impl Iterator<Item = &Quota> {
        self.quotas.configured()
    }

    /// The operations that a rule counts and that an application does not have, as far as its operations are known.
    pub(crate) fn unknown(&self, rule: &Rule, apps: &Apps) -> Vec<String> {
        let is_missing = |operation: &&OperationId| {
            let operations = apps.get(operation.app.as_str()).and_then(|app| app.operations());
            operations.is_some_and(|operations| operations.get(&operation.name).is_none())
        };
        rule.only.operations.iter().filter(is_missing).map(ToString::to_string).collect()
    }

    /// A name that is misspelt limits nothing, and for an MCP server only the server knows.
    pub(crate) fn warn_of_unknown(&self, apps: &Apps) {
        let rules = self.rates().map(|rate| &rate.rule).chain(self.quotas().map(|quota| &quota.rule));
        for rule in rules {
            for operation in self.unknown(rule, apps) {
                tracing::warn!(limit = %rule.name, operation, "the limit counts an operation that does not exist");
            }
        }
    }

    /// What is used now of the limit with that name, by everybody who has used any; none: there is no such limit.
    pub(crate) async fn standing(&self, name: &str) -> Result<Option<Vec<Standing>>, Fault> {
        match self.rates.standing(name) {
            Some(standing) => Ok(Some(standing)),
            None => self.quotas.standing(name).await,
        }
    }
}
