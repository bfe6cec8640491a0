mod text;

use std::path::{Path, PathBuf};

use clap::Args;
use vestibule_evidence::TraceOf;
use vestibule_model::{AttemptId, WorkflowId};

use super::{
    Failure, Outcome, Target,
    admin_client::{AdminClient, encoded},
    output::Out,
};

/// Show who asked for an attempt, through which agents and calls, and what came of it; or a whole workflow, which is the
/// tree of delegations below one root.
#[derive(Debug, Args)]
pub(super) struct Trace {
    /// An attempt, by the `x-request-id` of its reply; or a workflow.
    id: String,
    /// A folder of evidence, read offline.
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
    #[command(flatten)]
    target: Target,
}

impl Trace {
    pub(super) async fn execute(self, out: &Out) -> Outcome {
        let traced = match &self.folder {
            Some(folder) => self.read(folder)?,
            None => self.ask().await?,
        };
        out.result(&traced, || text::rendered(&traced));
        Ok(())
    }

    async fn ask(&self) -> Result<vestibule_evidence::Trace, Failure> {
        let client = AdminClient::of(&self.target)?;
        let id = encoded(&self.id);
        // Both kinds of id look alike; one that is no attempt of this gateway is a workflow.
        let answer = match client.get(&format!("/admin/v1/attempts/{id}/trace")).await {
            Err(Failure::Usage(_)) => client.get(&format!("/admin/v1/workflows/{id}/trace")).await?,
            answer => answer?,
        };
        serde_json::from_value(answer).map_err(Failure::broken)
    }

    fn read(&self, folder: &Path) -> Result<vestibule_evidence::Trace, Failure> {
        let attempt = AttemptId::parse(&self.id).map(TraceOf::Attempt).map_err(Failure::usage)?;
        let workflow = WorkflowId::parse(&self.id).map(TraceOf::Workflow).map_err(Failure::usage)?;
        for of in [attempt, workflow] {
            let bounds = vestibule_evidence::TraceBounds::default();
            let traced = vestibule_evidence::trace_in(folder, of, bounds).map_err(Failure::broken)?;
            if traced.attempts > 0 {
                return Ok(traced);
            }
        }
        Err(Failure::usage("no such attempt or workflow"))
    }
}
