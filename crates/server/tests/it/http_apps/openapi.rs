//! Operations from an OpenAPI document: what it says exactly is an operation, what it cannot say is nobody's.

use std::sync::Arc;

use http::Method;
use serde_json::json;
use vestibule_model::SystemClock;
use vestibule_testkit::{Answer, Http, TestUpstream};

use crate::gateway::{TestGateway, folder};

const DOCUMENT: &str = r"
openapi: 3.1.0
info: { title: Pets, version: '1' }
paths:
  /pets:
    get:
      operationId: listPets
      parameters: [{ name: limit, in: query, required: true, schema: { $ref: '#/components/schemas/Limit' } }]
    post:
      operationId: createPet
      requestBody:
        content: { application/json: { schema: { $ref: '#/components/schemas/Pet' } } }
  /pets/{id}:
    parameters: [{ name: id, in: path, required: true, schema: { type: integer } }]
    get: { operationId: showPet }
  /pets/photo-{id}:
    get: { operationId: showPhoto }
components:
  schemas:
    Limit: { type: integer, maximum: 100 }
    Pet: { type: object, required: [name], properties: { name: { type: string }, tag: { type: string } } }
";

const POLICIES: &str = r#"
@id("few") permit (principal, action == Action::"pets__listPets", resource) when { context.input.limit <= 50 };
@id("dogs") permit (principal, action == Action::"pets__createPet", resource)
when { context.input has tag && context.input.tag == "dog" };
@id("show") permit (principal, action == Action::"pets__showPet", resource);
"#;

#[tokio::test]
async fn a_document_is_imported_with_its_types_and_what_it_leaves_open_is_refused() {
    let upstream = TestUpstream::http(Answer::json(&json!([]))).await;
    let dir = folder(&[("pets.cedar", POLICIES)]);
    std::fs::write(dir.path().join("pets.yaml"), DOCUMENT).unwrap();
    let operations = "{ openapi: { file: pets.yaml, review: { showPet: { scopes: [pets] } } } }";
    let config =
        format!("apps: {{ pets: {{ http: {{ url: '{}', operations: {operations} }} }} }}", upstream.url());
    let gateway = TestGateway::start_in(dir, &config, Arc::new(SystemClock::default())).await;
    let shown = gateway.get("/admin/v1/apps/pets").await;
    let names = shown["operations"].as_array().unwrap().iter().map(|operation| operation["name"].clone());
    assert_eq!(names.collect::<Vec<_>>(), ["createPet", "listPets", "showPet"]);

    let (token, base) = (gateway.token("a", "pets").await, gateway.resource("pets"));
    let send = async |method: Method, target: &str, body: Option<serde_json::Value>| {
        let call = Http::request(method, &format!("{base}{target}")).bearer(&token);
        let reply = body.map_or_else(|| call.clone(), |body| call.clone().json(&body)).send().await;
        (reply.status.as_u16(), reply.json()["code"].as_str().unwrap_or("permitted").to_owned())
    };
    let permitted = (200, "permitted".to_owned());
    assert_eq!(send(Method::GET, "/pets?limit=50", None).await, permitted);
    assert_eq!(send(Method::POST, "/pets", Some(json!({ "name": "x", "tag": "dog" }))).await, permitted);
    let seen = upstream.requests().len();
    for (status, code, method, target, body) in [
        (403, "arguments-not-permitted", Method::GET, "/pets?limit=51", None),
        (403, "argument-inexact", Method::GET, "/pets", None),
        (403, "arguments-not-permitted", Method::POST, "/pets", Some(json!({ "name": "x", "tag": "cat" }))),
        (
            403,
            "argument-undeclared",
            Method::POST,
            "/pets",
            Some(json!({ "name": "x", "tag": "dog", "id": 1 })),
        ),
        // Within a segment a parameter has no one reading, so the operation is left out. Its requests are nobody's: they
        // are not taken for those of `/pets/{id}`.
        (404, "not-found", Method::GET, "/pets/photo-1", None),
    ] {
        assert_eq!(send(method, target, body).await, (status, code.to_owned()), "{target}");
    }
    assert_eq!(upstream.requests().len(), seen);
}
