//! A bundle as it arrives, written into a folder of its own.

use std::{
    collections::BTreeMap,
    fs::{DirBuilder, File, OpenOptions},
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use http::Method;
use http_body_util::BodyExt;
use serde::Deserialize;
use serde_json::{Value, json};
use vestibule_egress::Client;
use vestibule_evidence::{BUNDLE_FILES_MAX, BUNDLE_MANIFEST, BUNDLE_SEAL, PublicKey, verify_bundle};
use vestibule_model::AttemptId;

use super::{path, said};
use crate::cli::{Failure, admin_client::AdminClient};

/// The longest line of a bundle that is read, in bytes.
const LINE_MAX_BYTES: usize = 32 << 20;
/// The largest bundle that is written, in bytes.
const BUNDLE_MAX_BYTES: usize = 4 << 30;
/// The largest answer that refuses, in bytes.
const REFUSAL_MAX_BYTES: usize = 64 << 10;
/// A name that is taken gets a number, up to this.
const NUMBER_MAX: u32 = 1_000;

/// What a line of a bundle says.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, untagged)]
enum Line {
    Piece { file: String, text: String },
    End { end: bool, key: String },
    Failed { failed: String },
}

/// Gathers a bundle into a folder that must not be there yet, and verifies what was written.
pub(super) async fn gather(client: &AdminClient, id: &str, folder: Option<&Path>) -> Result<Value, Failure> {
    let mut bundle = Bundle::in_folder(id, folder)?;
    let key = match bundle.receive(client, id).await {
        Ok(key) => key,
        Err(failure) => return Err(bundle.incomplete(&failure)),
    };
    let key = PublicKey::parse(&key).map_err(Failure::broken)?;
    let shown = bundle.folder.display().to_string();
    let report = verify_bundle(&bundle.folder, &key)
        .map_err(|error| Failure::Broken(format!("the bundle in `{shown}` does not verify: {error}")))?;
    Ok(json!({ "folder": shown, "key": key.to_string(), "report": report }))
}

struct Bundle {
    folder: PathBuf,
    files: BTreeMap<String, File>,
    bytes: usize,
}

impl Bundle {
    fn in_folder(id: &str, folder: Option<&Path>) -> Result<Self, Failure> {
        let make = |path: &Path| DirBuilder::new().mode(0o700).create(path);
        let failed = |path: &Path, error: &std::io::Error| {
            Failure::Usage(format!("cannot make the folder `{}`: {error}", path.display()))
        };
        let made = match folder {
            Some(folder) => {
                make(folder).map(|()| folder.to_owned()).map_err(|error| failed(folder, &error))?
            }
            None => {
                // It becomes the name of a folder, and is the word of whoever answered.
                AttemptId::parse(id)
                    .map_err(|_| Failure::broken("the gateway's answer names no incident"))?;
                let names = (1..NUMBER_MAX).map(|number| match number {
                    1 => PathBuf::from(format!("incident-{id}")),
                    number => PathBuf::from(format!("incident-{id}-{number}")),
                });
                let mut names = names.filter(|name| !name.exists());
                let name = names.next().ok_or_else(|| Failure::usage("give `--folder`"))?;
                make(&name).map_err(|error| failed(&name, &error))?;
                name
            }
        };
        Ok(Self { folder: made, files: BTreeMap::new(), bytes: 0 })
    }

    /// Writes every piece as it comes. Gives the key of the record.
    async fn receive(&mut self, client: &AdminClient, id: &str) -> Result<String, Failure> {
        let response = client.send(Method::GET, &format!("{}/bundle", path(id)), None).await?;
        let status = response.status();
        let mut body = response.into_body();
        if !status.is_success() {
            let bytes = Client::read_body(body, REFUSAL_MAX_BYTES).await.map_err(Failure::broken)?;
            let said: Value = serde_json::from_slice(&bytes).unwrap_or_default();
            let title = said.get("title").and_then(Value::as_str).unwrap_or("the gateway refused").to_owned();
            return Err(if status.is_client_error() {
                Failure::Usage(title)
            } else {
                Failure::Broken(title)
            });
        }
        let mut pending: Vec<u8> = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(Failure::broken)?;
            let data = frame.data_ref().map(AsRef::as_ref).unwrap_or_default();
            self.bytes = self.bytes.saturating_add(data.len());
            if self.bytes > BUNDLE_MAX_BYTES || pending.len() + data.len() > LINE_MAX_BYTES {
                return Err(Failure::broken("the bundle is too large"));
            }
            // Only what is new can hold the end of the line.
            let mut rest = data;
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let (line, after) = rest.split_at(end);
                pending.extend_from_slice(line);
                if let Some(key) = self.take(&pending)? {
                    return Ok(key);
                }
                pending.clear();
                rest = after.get(1..).unwrap_or_default();
            }
            pending.extend_from_slice(rest);
        }
        Err(Failure::broken("the gateway ended before the bundle did"))
    }

    fn take(&mut self, line: &[u8]) -> Result<Option<String>, Failure> {
        match serde_json::from_slice(line).map_err(|_| Failure::broken("the gateway sent no bundle"))? {
            Line::Piece { file, text } => self.write(&file, &text).map(|()| None),
            Line::End { end: true, key } => Ok(Some(key)),
            Line::End { .. } => Err(Failure::broken("the gateway sent no bundle")),
            Line::Failed { failed } => Err(Failure::Broken(failed)),
        }
    }

    fn write(&mut self, name: &str, text: &str) -> Result<(), Failure> {
        // The name comes from elsewhere: it must not lead out of the folder.
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if name.is_empty() || name.len() > 64 || name.starts_with('.') || !name.chars().all(is_plain) {
            return Err(Failure::broken("the gateway sent a file whose name is none"));
        }
        let path = self.folder.join(name);
        let failed = |error| Failure::Broken(format!("cannot write `{}`: {error}", path.display()));
        if !self.files.contains_key(name) {
            if self.files.len() >= BUNDLE_FILES_MAX + 2 {
                return Err(Failure::broken("the gateway sent too many files"));
            }
            let file =
                OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(failed)?;
            self.files.insert(name.to_owned(), file);
        }
        match self.files.get_mut(name) {
            Some(file) => file.write_all(text.as_bytes()).map_err(failed),
            None => Ok(()),
        }
    }

    /// Says what is missing. What has come stays: it is better than nothing.
    fn incomplete(&self, failure: &Failure) -> Failure {
        let has: Vec<&str> = self.files.keys().map(String::as_str).collect();
        let has = if has.is_empty() {
            "nothing came".to_owned()
        } else {
            format!("there are, perhaps in part: {}", has.join(", "))
        };
        let missing =
            [BUNDLE_MANIFEST, BUNDLE_SEAL].into_iter().filter(|name| !self.files.contains_key(*name));
        let text = format!(
            "the bundle in `{}` is not whole ({}): {has}; missing: {}; it does not verify",
            self.folder.display(),
            said(failure),
            missing.collect::<Vec<_>>().join(", "),
        );
        match failure {
            Failure::Usage(_) => Failure::Usage(text),
            Failure::No | Failure::Broken(_) => Failure::Broken(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_folder_is_named_by_what_is_no_id() {
        for id in ["", "x/../../y", "..", "/tmp/x", "0123"] {
            assert!(matches!(Bundle::in_folder(id, None), Err(Failure::Broken(_))), "{id}");
        }
    }
}
