use std::collections::HashSet;

use serde_json::Value;
use vestibule_model::{
    Denial,
    json::{Json, parse},
};

use super::{operation::BodyRule, path::percent_decode, routes::Match};

/// How many query parameters a request may have.
const QUERY_MAX_PAIRS: usize = 256;

/// Whether a request header, in lower case, goes to the application. Everything else stays here: credentials, cookies
/// and what speaks of this hop; the content type, which the gateway says itself; and what some frameworks take for
/// another method or path than the one decided about, such as `X-HTTP-Method-Override` and `X-Original-URL`.
#[must_use]
pub fn forwardable_request(name: &str) -> bool {
    matches!(
        name,
        "accept"
            | "accept-language"
            | "content-language"
            | "idempotency-key"
            | "if-match"
            | "if-modified-since"
            | "if-none-match"
            | "if-range"
            | "if-unmodified-since"
            | "prefer"
            | "range"
            | "traceparent"
    )
}

/// Whether a media type, lower case and without parameters, is JSON: RFC 8259, or a `+json` type of RFC 6839.
fn is_json(media_type: &str) -> bool {
    // RFC 6838 §4.2: the characters of a name.
    let is_name = |name: &str| {
        !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte))
    };
    media_type
        .strip_prefix("application/")
        .is_some_and(|subtype| subtype == "json" || subtype.strip_suffix("+json").is_some_and(is_name))
}

/// The type of a path or query parameter, which is text on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Type {
    #[default]
    String,
    Integer,
    Number,
    Boolean,
}

impl Type {
    /// The type that a schema declares; none for arrays and objects.
    pub(super) fn of(schema: &Value) -> Option<Self> {
        let kind = match schema.get("type") {
            None => return Some(Self::String),
            Some(Value::Array(kinds)) => kinds.iter().find(|kind| *kind != "null")?,
            Some(kind) => kind,
        };
        match kind.as_str()? {
            "string" => Some(Self::String),
            "integer" => Some(Self::Integer),
            "number" => Some(Self::Number),
            "boolean" => Some(Self::Boolean),
            _ => None,
        }
    }

    /// The value, if its spelling is the one of its type: no `+1`, no `01`, no `1e2` for an integer. Otherwise the text:
    /// a policy that reads it wants the type and refuses.
    fn value(self, text: String) -> Json {
        let value = match self {
            Self::String => None,
            Self::Boolean => match text.as_str() {
                "true" => Some(Json::Bool(true)),
                "false" => Some(Json::Bool(false)),
                _ => None,
            },
            Self::Integer if text.bytes().any(|byte| !byte.is_ascii_digit() && byte != b'-') => None,
            Self::Integer | Self::Number => number(&text),
        };
        value.unwrap_or(Json::String(text))
    }
}

fn number(text: &str) -> Option<Json> {
    match parse(text.as_bytes(), 0) {
        // The parser allows white space around a value.
        Ok(Json::Number(number)) if number.as_str() == text => Some(Json::Number(number)),
        Ok(_) | Err(_) => None,
    }
}

impl Match<'_> {
    /// Whether the request may have a body of this media type, which is lower case and without parameters.
    #[must_use]
    pub fn accepts_body(&self, media_type: &str) -> bool {
        match self.body() {
            BodyRule::None => false,
            BodyRule::Properties | BodyRule::Value => is_json(media_type),
            BodyRule::Opaque => true,
        }
    }

    /// Everything that the request says, in one flat object: path, query and body. What is not declared is in it too,
    /// for the policy to refuse.
    ///
    /// # Errors
    /// [`Denial::QueryInvalid`] when the query is malformed, or names a key twice or one of the path;
    /// [`Denial::JsonDuplicateKey`] when the body has a key that path or query have.
    pub fn input(&self, query: Option<&str>, body: Option<Json>) -> Result<Json, Denial> {
        let mut input: Vec<(String, Json)> = Vec::new();
        for (name, value) in &self.path {
            add(
                &mut input,
                (*name).to_owned(),
                self.type_of(name).value(value.clone()),
                Denial::QueryInvalid,
            )?;
        }
        for (name, value) in pairs(query.unwrap_or_default()).ok_or(Denial::QueryInvalid)? {
            let value = self.type_of(&name).value(value);
            add(&mut input, name, value, Denial::QueryInvalid)?;
        }
        match (self.body(), body) {
            (_, None) => {}
            (BodyRule::Properties, Some(Json::Object(members))) => {
                // The parser has refused duplicates within the body.
                let before: HashSet<&str> = input.iter().map(|(name, _)| name.as_str()).collect();
                if members.iter().any(|(name, _)| before.contains(name.as_str())) {
                    return Err(Denial::JsonDuplicateKey);
                }
                input.extend(members);
            }
            (BodyRule::Properties | BodyRule::Value | BodyRule::None | BodyRule::Opaque, Some(body)) => {
                add(&mut input, "body".into(), body, Denial::JsonDuplicateKey)?;
            }
        }
        Ok(Json::Object(input))
    }
}

fn add(input: &mut Vec<(String, Json)>, name: String, value: Json, twice: Denial) -> Result<(), Denial> {
    if input.iter().any(|(other, _)| *other == name) {
        return Err(twice);
    }
    input.push((name, value));
    Ok(())
}

/// `application/x-www-form-urlencoded`, strictly: every pair has a name and an equals sign, no raw `;` (some parsers
/// separate by it), no control characters.
fn pairs(query: &str) -> Option<Vec<(String, String)>> {
    if query.is_empty() {
        return Some(Vec::new());
    }
    if query.split('&').count() > QUERY_MAX_PAIRS {
        return None;
    }
    query
        .split('&')
        .map(|pair| {
            let (name, value) = pair.split_once('=')?;
            Some((text(name).filter(|name| !name.is_empty())?, text(value)?))
        })
        .collect()
}

fn text(encoded: &str) -> Option<String> {
    if encoded.contains([';', '#']) || !encoded.bytes().all(|byte| byte.is_ascii_graphic()) {
        return None;
    }
    percent_decode(&encoded.replace('+', " ")).filter(|text| !text.contains(char::is_control))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use vestibule_model::Method;

    use super::*;
    use crate::http_app::{OperationsConfig, Routes};

    fn routes() -> Routes {
        let config: OperationsConfig = serde_saphyr::from_str(
            r"
            routes:
              list: { route: GET /repos, query: { page: { type: integer }, all: { type: boolean }, q: { type: string }, score: { type: number } } }
              show: { route: 'GET /repos/{id}', path: { id: { type: integer } } }
              create:
                route: 'POST /repos/{owner}'
                query: { dry: { type: boolean } }
                body: { json: { type: object, properties: { name: { type: string } }, required: [name] } }
              tags: { route: 'PUT /tags', body: { json: { type: array } } }
              upload: { route: 'PUT /files/{path}', body: opaque }
            ",
        )
        .unwrap();
        Routes::load(&config, Path::new("")).unwrap()
    }

    fn input(method: Method, path: &str, query: &str, body: Option<&str>) -> Result<String, Denial> {
        let body = body.map(|text| parse(text.as_bytes(), 8).unwrap());
        routes().matching(method, path)?.input(Some(query), body).map(|input| input.canonical())
    }

    fn list(query: &str) -> Result<String, Denial> {
        input(Method::Get, "/repos", query, None)
    }

    #[test]
    fn path_query_and_body_become_one_flat_object() {
        let all = input(Method::Post, "/repos/a%20b", "dry=true", Some(r#"{"name":"x"}"#));
        assert_eq!(all.unwrap(), r#"{"dry":true,"name":"x","owner":"a b"}"#);
        assert_eq!(input(Method::Get, "/repos/7", "", None).unwrap(), r#"{"id":7}"#);
        assert_eq!(input(Method::Put, "/tags", "", Some("[1]")).unwrap(), r#"{"body":[1]}"#);
        assert_eq!(input(Method::Post, "/repos/a", "", Some("[1]")).unwrap(), r#"{"body":[1],"owner":"a"}"#);
    }

    #[test]
    fn a_value_has_its_declared_type_only_in_its_one_spelling() {
        assert_eq!(
            list("page=10&all=false&q=1&score=1.50").unwrap(),
            r#"{"all":false,"page":10,"q":"1","score":1.5}"#
        );
        for text in ["01", "%2B1", "1e2", "1.0", "+1", "%201", "", "0x1", "-", "1-"] {
            let found = parse(list(&format!("page={text}")).unwrap().as_bytes(), 4).unwrap();
            assert!(found.get("page").and_then(Json::as_str).is_some(), "{text}");
        }
        assert_eq!(list("all=TRUE").unwrap(), r#"{"all":"TRUE"}"#);
    }

    #[test]
    fn a_query_that_parsers_disagree_about_is_refused() {
        for query in [
            "page=1&page=2",
            "page=1&%70age=2",
            "page",
            "page=1&",
            "&page=1",
            "page=1&&q=2",
            "=1",
            "page=1;q=2",
            "q=%",
            "q=%4",
            "q=%zz",
            "q=%ff",
            "q=%00",
            "q=a%0d%0ab",
            "%0a=1",
            "q=a b",
            "q=é",
            "q=a#b",
        ] {
            assert_eq!(list(query), Err(Denial::QueryInvalid), "{query}");
        }
        let many = (0..=QUERY_MAX_PAIRS).map(|n| format!("k{n}=1")).collect::<Vec<_>>().join("&");
        assert_eq!(list(&many), Err(Denial::QueryInvalid));
        assert_eq!(list("q=a+b%26c%2B").unwrap(), r#"{"q":"a b&c+"}"#);
    }

    #[test]
    fn one_name_cannot_have_two_values_in_two_places() {
        assert_eq!(input(Method::Get, "/repos/7", "id=8", None), Err(Denial::QueryInvalid));
        let body = Some(r#"{"name":"x","owner":"b"}"#);
        assert_eq!(input(Method::Post, "/repos/a", "", body), Err(Denial::JsonDuplicateKey));
        assert_eq!(input(Method::Put, "/tags", "body=1", Some("[1]")), Err(Denial::JsonDuplicateKey));
    }

    #[test]
    fn what_is_not_declared_is_left_to_the_policy() {
        assert_eq!(list("_method=DELETE").unwrap(), r#"{"_method":"DELETE"}"#);
        let body = Some(r#"{"name":"x","admin":true}"#);
        assert_eq!(
            input(Method::Post, "/repos/a", "", body).unwrap(),
            r#"{"admin":true,"name":"x","owner":"a"}"#
        );
    }

    #[test]
    fn a_body_is_what_the_operation_declares() {
        let routes = routes();
        let accepts =
            |method, path, media_type| routes.matching(method, path).unwrap().accepts_body(media_type);
        for good in ["application/json", "application/merge-patch+json", "application/vnd.x+json"] {
            assert!(accepts(Method::Post, "/repos/a", good), "{good}");
        }
        for bad in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "text/json",
            "json",
            "application/+json",
            "application/x, application/y+json",
            "application/x/y+json",
        ] {
            assert!(!accepts(Method::Post, "/repos/a", bad), "{bad}");
        }
        assert!(!accepts(Method::Get, "/repos", "application/json"), "no body is declared");
        assert!(accepts(Method::Put, "/files/x", "image/png"), "opaque");
    }

    #[test]
    fn headers_that_change_method_or_path_stay_here() {
        for name in [
            "authorization",
            "cookie",
            "host",
            "x-http-method-override",
            "x-method-override",
            "x-original-url",
            "x-rewrite-url",
            "x-forwarded-prefix",
            "forwarded",
            "connection",
            "transfer-encoding",
            "content-encoding",
            "content-type",
            "expect",
            "dpop",
            "baggage",
            "x-api-key",
        ] {
            assert!(!forwardable_request(name), "{name}");
        }
        assert!(forwardable_request("if-match") && forwardable_request("accept"));
    }
}
