//! From files to a policy set: parse, name, check, index. Nothing that fails here ever decides.

use std::{collections::HashMap, sync::Arc};

use cedar_policy::{
    Policy, PolicyId, PolicySet as CedarSet, Schema, SchemaFragment, Template, ValidationMode,
    ValidationWarning, Validator,
};
use jiff::tz::TimeZone;
use miette::Diagnostic;
use vestibule_model::Digest;

use crate::{
    catalog::{Catalog, Operations},
    problem::{Problem, Severity},
    readable,
    set::{Options, PolicyFile, PolicySet},
    source::{Lines, Piece, pieces},
    statement::Statement,
};

const POLICIES_MAX: usize = 100_000;
const FILE_MAX_BYTES: usize = 4 * 1024 * 1024;
const ID_MAX_BYTES: usize = 128;

/// How many entities away from the request a policy may look: `resource.app.kind` is two. All of these are always
/// given to Cedar; what lies further would silently be missing.
const LEVEL_MAX: u32 = 2;

const CORE: &str = include_str!("core.cedarschema");

/// A policy with its place in its file.
struct Parsed<'a> {
    policy: Policy,
    statement: Statement,
    at: usize,
    lines: &'a Lines<'a>,
}

pub(crate) fn load(
    files: &[PolicyFile],
    catalog: &Catalog,
    options: &Options,
) -> Result<PolicySet, Vec<Problem>> {
    let mut problems = Vec::new();
    let timezone = TimeZone::get(&options.timezone).unwrap_or_else(|_| {
        let unknown = format!("the time zone `{}` is unknown", options.timezone);
        problems.push(
            Problem::error("configuration", unknown).help("use an IANA name, for example `Europe/Berlin`"),
        );
        TimeZone::UTC
    });
    let operations = Operations::of(catalog, &mut problems);
    let lines: Vec<Lines<'_>> = files.iter().map(|file| Lines::of(&file.text)).collect();
    let parsed = parse_files(files, &lines, &mut problems);
    match schema(&operations) {
        Ok(schema) => validate(&parsed, &operations, schema, &mut problems),
        Err(problem) => problems.push(problem),
    }
    problems.sort_by(|a, b| {
        (a.severity, &a.file, a.line, a.column).cmp(&(b.severity, &b.file, b.line, b.column))
    });
    if problems.iter().any(|problem| problem.severity == Severity::Error) {
        return Err(problems);
    }
    let digest = digest(files, &operations, options);
    let statements = parsed.into_iter().map(|parsed| parsed.statement).collect();
    let mut set = PolicySet::assemble(statements, operations, timezone, digest, catalog.clone());
    set.warnings = problems;
    Ok(set)
}

// ---- parsing -----------------------------------------------------------------------------------------------

fn parse_files<'a>(
    files: &'a [PolicyFile],
    lines: &'a [Lines<'a>],
    problems: &mut Vec<Problem>,
) -> Vec<Parsed<'a>> {
    let mut parsed = Vec::new();
    let mut ids: HashMap<Arc<str>, String> = HashMap::new();
    let mut seen = 0;
    for (file, lines) in files.iter().zip(lines) {
        if file.text.len() > FILE_MAX_BYTES {
            problems.push(Problem::error(&file.name, "the file is larger than 4 MiB").help("split it"));
            continue;
        }
        for piece in pieces(&file.text) {
            seen += 1;
            if seen > POLICIES_MAX {
                problems.push(Problem::error(&file.name, "there are more than 100,000 policies"));
                return parsed;
            }
            match parse(file, lines, piece) {
                Ok(one) => {
                    let here = format!("{}:{}", file.name, one.statement.line);
                    if let Some(there) = ids.insert(one.statement.id.clone(), here) {
                        let twice = format!("the id is used already, at {there}");
                        let problem = Problem::error(&file.name, twice).at(lines.place(piece.at));
                        problems.push(
                            problem.of(&one.statement.id).help("records name policies by id: make it unique"),
                        );
                    }
                    parsed.push(one);
                }
                Err(problem) => problems.push(problem),
            }
        }
    }
    parsed
}

fn parse<'a>(file: &PolicyFile, lines: &'a Lines<'a>, piece: Piece<'_>) -> Result<Parsed<'a>, Problem> {
    let here =
        |message: &dyn std::fmt::Display| Problem::error(&file.name, message).at(lines.place(piece.at));
    let policy = Policy::parse(None, piece.text).map_err(|errors| {
        if Template::parse(None, piece.text).is_ok_and(|template| template.slots().next().is_some()) {
            let refused = "this is a template, and templates are not supported";
            return here(&refused).help("write the agent or group in place of `?principal`, the operation or application in place of `?resource`");
        }
        let first = errors.iter().next();
        let offset = first.and_then(offset_of).map_or(piece.at, |offset| piece.at + offset);
        let help = first.and_then(Diagnostic::help).map(|help| help.to_string());
        let message = first.map_or_else(|| errors.to_string(), detail);
        Problem { help, ..Problem::error(&file.name, message).at(lines.place(offset)) }
    })?;
    let help = "write `@id(\"…\")` above it: 1 to 128 bytes without control characters";
    let id = policy.annotation("id").ok_or_else(|| here(&"the policy has no id").help(help))?.to_owned();
    if id.is_empty() || id.len() > ID_MAX_BYTES || id.chars().any(char::is_control) {
        return Err(here(&"the policy's id is not usable").help(help));
    }
    let shadow = file.name.ends_with(".shadow.cedar");
    let place = (file.name.as_str().into(), lines.place(piece.at).0);
    let statement =
        Statement::new(&policy, &id, piece.text, place, shadow).map_err(|why| here(&why).of(&id))?;
    Ok(Parsed { policy: policy.new_id(PolicyId::new(id)), statement, at: piece.at, lines })
}

/// The message of a diagnostic with the label at its place, which often says what was expected there.
fn detail(error: &(impl Diagnostic + ?Sized)) -> String {
    let label = error
        .labels()
        .and_then(|mut labels| labels.next())
        .and_then(|label| label.label().map(str::to_owned));
    match label {
        Some(label) => format!("{error}: {label}"),
        None => error.to_string(),
    }
}

fn offset_of(error: &(impl Diagnostic + ?Sized)) -> Option<usize> {
    error.labels()?.next().map(|label| label.offset())
}

// ---- checking ----------------------------------------------------------------------------------------------

/// The core schema with the actions of the operations.
pub(crate) fn schema(operations: &Operations) -> Result<Schema, Problem> {
    let refused = |why: &dyn Diagnostic| Problem::error("schema", format!("the schema is not usable: {why}"));
    let (core, _) = SchemaFragment::from_cedarschema_str(CORE).map_err(|why| refused(&why))?;
    let actions = SchemaFragment::from_json_value(operations.to_cedar()).map_err(|why| refused(&why))?;
    Schema::from_schema_fragments([core, actions]).map_err(|why| refused(&why))
}

fn validate(parsed: &[Parsed<'_>], operations: &Operations, schema: Schema, problems: &mut Vec<Problem>) {
    let mut set = CedarSet::new();
    let mut by_id = HashMap::new();
    for one in parsed {
        let unreadable = readable::check(&one.statement, operations);
        if unreadable.is_empty() && set.add(one.policy.clone()).is_ok() {
            by_id.insert(one.statement.id.to_string(), one);
        }
        for finding in unreadable {
            let offset = one.at + one.statement.text.find(&finding.attribute).unwrap_or(0);
            problems.push(one.problem(offset, finding.message).help(finding.help));
        }
    }
    let result = Validator::new(schema).validate_with_level(&set, ValidationMode::Strict, LEVEL_MAX);
    let mut refused = Vec::new();
    for error in result.validation_errors() {
        let id = error.policy_id().to_string();
        problems.extend(by_id.get(&id).map(|one| one.finding(error)));
        refused.push(id);
    }
    for warning in result.validation_warnings() {
        let id = warning.policy_id().to_string();
        // Of a policy with errors, warnings say the same once more.
        if let Some(one) = by_id.get(&id).filter(|_| !refused.contains(&id)) {
            problems.push(one.warning(warning, operations));
            refused.push(id);
        }
    }
}

impl Parsed<'_> {
    fn problem(&self, offset: usize, message: impl std::fmt::Display) -> Problem {
        Problem::error(&self.statement.file, message).at(self.lines.place(offset)).of(&self.statement.id)
    }

    fn finding(&self, error: &dyn Diagnostic) -> Problem {
        let offset = offset_of(error).unwrap_or(0);
        let prefix = format!("for policy `{}`, ", self.statement.id);
        let message = error.to_string().replace(&prefix, "");
        let help = error.help().map(|help| help.to_string().replace(&prefix, ""));
        let problem = Problem { help, ..self.problem(self.at + offset, message) };
        if self.is_for_calls_only(offset, &problem.message) {
            return problem.help("without an action the policy is about delegating as well, where the resource is an agent: write `action in Action::\"call\"`");
        }
        problem
    }

    /// Whether a policy that names no action says something of calls that has no meaning where something is handed on.
    fn is_for_calls_only(&self, offset: usize, message: &str) -> bool {
        let is_of_resource =
            || self.statement.text.get(offset..).is_some_and(|text| text.starts_with("resource"));
        let is_of_agent = message.contains("on entity type `Agent`") && is_of_resource();
        self.statement.scope.is_about_delegating_too()
            && (message.contains("in context for Action::\"delegate\"") || is_of_agent)
    }

    /// A policy that can never match is an error where it is enforced: as a permit it is an outage, as a guard rail a
    /// silent opening. Where there are no operations yet that it could be about, it is too early to say.
    fn warning(&self, warning: &ValidationWarning, operations: &Operations) -> Problem {
        let impossible = matches!(
            warning,
            ValidationWarning::ImpossiblePolicy(_) | ValidationWarning::InvalidActionApplication(_)
        );
        if !impossible {
            let severity = if self.statement.shadow { Severity::Warning } else { Severity::Error };
            return Problem { severity, ..self.finding(warning) };
        }
        // Delegating is always there to be about; but what is about more than that may wait for the rest.
        let scope = &self.statement.scope;
        let idle = !scope.is_about_delegating_only()
            && !operations.entries.iter().any(|entry| scope.names(&entry.target));
        if idle {
            let problem = self.problem(self.at, "the policy is about operations of which none is known yet");
            return Problem { severity: Severity::Warning, ..problem };
        }
        let severity = if self.statement.shadow { Severity::Warning } else { Severity::Error };
        let problem = self
            .problem(self.at, "the policy can never match: its conditions are false for every possible call");
        let help = "look for conditions that contradict each other, for `has` with a name that no argument has, and for a principal or resource of the wrong kind";
        Problem { severity, ..problem.help(help) }
    }
}

// ---- digest ------------------------------------------------------------------------------------------------

/// Each part is preceded by its length, so that no two lists of parts look alike. Files count in the order of their
/// names.
fn digest(files: &[PolicyFile], operations: &Operations, options: &Options) -> String {
    let mut bytes = Vec::new();
    let mut part = |text: &str| {
        bytes.extend_from_slice(&(text.len() as u64).to_be_bytes());
        bytes.extend_from_slice(text.as_bytes());
    };
    let mut files: Vec<&PolicyFile> = files.iter().collect();
    files.sort_by(|a, b| a.name.cmp(&b.name));
    for file in files {
        part(&file.name);
        part(&file.text);
    }
    part(CORE);
    part(&operations.to_cedar().to_string());
    for entry in &operations.entries {
        let facts = &entry.operation;
        part(&format!(
            "{} {:?} {:?} {:?} {}",
            entry.id, facts.effect, facts.risk, facts.scopes, facts.pinned
        ));
    }
    part(&options.timezone);
    Digest::of(&bytes).to_string()
}
