//! What a person with `curl` needs to play an agent that holds a key, and a human of the sandbox. Of no use against
//! anything but a gateway that trusts these keys.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use vestibule_model::{Clock, OsEntropy, SystemClock};

use super::{
    Failure, Outcome,
    output::Out,
    quickstart::{QUICKSTART_FILE, USERS_KEY},
};
use crate::sandbox::{Proven, Signer, SignerError, UserIssuer};

/// Largest token that is read, in bytes.
const TOKEN_MAX_BYTES: u64 = 16 << 10;

/// Play a human of the sandbox, or an agent with a key of its own.
#[derive(Debug, Subcommand)]
pub(super) enum Sandbox {
    UserToken(UserToken),
    Key(Key),
    Proof(Proof),
    ActorToken(ActorToken),
}

/// Log a user of the sandbox in, and print the ID token.
#[derive(Debug, Args)]
pub(super) struct UserToken {
    /// The user: alice or bob.
    user: String,
    /// The agent that the token is issued to.
    #[arg(long, default_value = "demo-agent", value_name = "ID")]
    agent: String,
    /// The quickstart's folder.
    #[arg(long, default_value = "vestibule-data", value_name = "DIR")]
    dir: PathBuf,
}

/// Make a key for an agent, unless the file has one, and print who that agent is.
#[derive(Debug, Args)]
pub(super) struct Key {
    /// The file.
    file: PathBuf,
}

/// Print the value of a `DPoP` header for one request (RFC 9449).
#[derive(Debug, Args)]
pub(super) struct Proof {
    /// The agent's key.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The nonce that the gateway sent in `DPoP-Nonce`.
    #[arg(long)]
    nonce: Option<String>,
    /// The file with the token that goes along; `-` for standard input. Never the token itself: arguments show in the
    /// process list.
    #[arg(long, value_name = "FILE")]
    token: Option<PathBuf>,
    /// The HTTP method.
    method: String,
    /// The URL, without a query.
    url: String,
}

/// Print what an agent signs so that another may spawn it.
#[derive(Debug, Args)]
pub(super) struct ActorToken {
    /// The key of the agent that is spawned.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The gateway's issuer.
    #[arg(long, value_name = "URL")]
    issuer: String,
    /// The file with the token of the agent that spawns; `-` for standard input.
    #[arg(long, value_name = "FILE")]
    subject_token: PathBuf,
}

impl Sandbox {
    pub(super) fn execute(self, out: &Out) -> Outcome {
        match self {
            Self::UserToken(command) => command.execute(out),
            Self::Key(command) => command.execute(out),
            Self::Proof(command) => command.execute(out),
            Self::ActorToken(command) => command.execute(out),
        }
    }
}

impl UserToken {
    fn execute(self, out: &Out) -> Outcome {
        let path = self.dir.join(QUICKSTART_FILE);
        let text = std::fs::read_to_string(&path).map_err(|error| {
            Failure::Usage(format!("cannot read `{}`: {error}; is it a quickstart's folder?", path.display()))
        })?;
        let contract: Value = serde_json::from_str(&text).map_err(Failure::broken)?;
        let users = contract.get("users").and_then(Value::as_array).cloned().unwrap_or_default();
        let issuer = users.first().and_then(|user| user.get("issuer")).and_then(Value::as_str);
        let issuer = issuer.ok_or_else(|| Failure::usage("this quickstart has no issuer of users"))?;
        let key = load(&self.dir.join(USERS_KEY))?;
        let token = UserIssuer::new(issuer, key)
            .id_token(&self.user, &self.agent, SystemClock::default().now(), &OsEntropy)
            .map_err(Failure::broken)?
            .ok_or_else(|| {
                Failure::Usage(format!("no user `{}` at the sandbox: alice and bob are", self.user))
            })?;
        out.result(&json!({ "user": self.user, "agent": self.agent, "id_token": token }), || token.clone());
        Ok(())
    }
}

impl Key {
    fn execute(self, out: &Out) -> Outcome {
        let key = Signer::load_or_create(&self.file).map_err(|error| unusable(&self.file, &error))?;
        let shown = json!({ "id": key.agent(), "thumbprint": key.thumbprint(), "jwk": key.jwk() });
        out.result(&shown, || key.agent().to_string());
        Ok(())
    }
}

impl Proof {
    fn execute(self, out: &Out) -> Outcome {
        let key = load(&self.key)?;
        let token = self.token.as_deref().map(token).transpose()?;
        let request = Proven {
            method: &self.method,
            url: &self.url,
            nonce: self.nonce.as_deref(),
            token: token.as_deref(),
        };
        let proof = key.proof(&request, SystemClock::default().now(), &OsEntropy).map_err(Failure::broken)?;
        out.result(&json!({ "proof": proof }), || proof.clone());
        Ok(())
    }
}

impl ActorToken {
    fn execute(self, out: &Out) -> Outcome {
        let key = load(&self.key)?;
        let (id, subject) = (key.agent(), token(&self.subject_token)?);
        let now = SystemClock::default().now();
        let actor = key.actor_token(id.as_str(), &self.issuer, &subject, now, &OsEntropy);
        let actor = actor.map_err(Failure::broken)?;
        out.result(&json!({ "agent": id, "actor_token": actor }), || actor.clone());
        Ok(())
    }
}

fn load(file: &Path) -> Result<Signer, Failure> {
    Signer::load(file).map_err(|error| unusable(file, &error))
}

/// Which file was named is the person's to put right.
fn unusable(file: &Path, error: &SignerError) -> Failure {
    Failure::Usage(format!("no key can be had from `{}`: {error}", file.display()))
}

fn token(file: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    if file == Path::new("-") {
        std::io::stdin().take(TOKEN_MAX_BYTES).read_to_string(&mut text).map_err(Failure::broken)?;
    } else {
        let opened = std::fs::File::open(file)
            .map_err(|error| Failure::Usage(format!("cannot read `{}`: {error}", file.display())))?;
        opened.take(TOKEN_MAX_BYTES).read_to_string(&mut text).map_err(Failure::broken)?;
    }
    Ok(text.trim().to_owned())
}
