//! Policies change while the gateway runs: at once, for tokens that are out there, and never to something broken.

use serde_json::json;

use super::Scene;
use crate::gateway::PERMIT_TESTERS;

const LOOK: &str = r#"@id("look") permit (principal, action == Action::"api__look", resource);"#;
const PAY: &str = r#"@id("pay") permit (principal, action == Action::"api__pay", resource);"#;

impl Scene {
    async fn write(&self, name: &str, text: &str) {
        std::fs::write(self.gateway.dir.path().join("policies").join(name), text).unwrap();
        self.gateway.running().reload().await;
    }

    async fn status(&self) -> serde_json::Value {
        self.gateway.get("/admin/v1/policies").await
    }
}

#[tokio::test]
async fn a_change_counts_for_the_next_call_without_a_restart_and_without_a_new_token() {
    let scene = Scene::new(&[("a.cedar", LOOK)]).await;
    let token = scene.token("a", json!({})).await;
    scene.assert_permitted(&scene.look(&token).await, &["look"]).await;
    scene.assert_refused(&scene.pay(&token, "{}").await, 404, "operation-not-permitted").await;
    let before = scene.status().await["running"].clone();
    scene.write("a.cedar", PAY).await;
    scene.assert_refused(&scene.look(&token).await, 404, "operation-not-permitted").await;
    let reply = scene.pay(&token, "{}").await;
    scene.assert_permitted(&reply, &["pay"]).await;
    let after = scene.status().await["running"].clone();
    assert_ne!(before, after);
    assert_eq!(scene.gateway.attempt_of(&reply).await["policy_set"], after);

    std::fs::remove_file(scene.gateway.dir.path().join("policies/a.cedar")).unwrap();
    scene.gateway.running().reload().await;
    scene.assert_refused(&scene.pay(&token, "{}").await, 403, "policy-set-empty").await;
}

#[tokio::test]
async fn a_file_that_does_not_load_leaves_the_last_good_set_deciding_and_is_shown_as_what_it_is() {
    let scene = Scene::new(&[("a.cedar", LOOK)]).await;
    let token = scene.token("a", json!({})).await;
    let good = scene.status().await;
    let misspelt = format!(
        "{PAY}\n\n{}",
        PAY.replace("\"pay\"", "\"typo\"").replace(';', " when { context.input.amout > 1 };")
    );
    scene.write("b.cedar", &misspelt).await;
    let status = scene.status().await;
    assert_eq!(status["running"], good["running"]);
    let problem = &status["problems"][0];
    assert_eq!(
        (&problem["file"], &problem["line"], &problem["severity"]),
        (&json!("b.cedar"), &json!(3), &json!("error"))
    );
    assert_eq!(problem["policy"], "typo");
    assert!(problem["message"].as_str().unwrap().contains("amout"), "{problem}");
    assert!(problem["help"].as_str().unwrap().contains("amount"), "{problem}");
    scene.assert_permitted(&scene.look(&token).await, &["look"]).await;
    scene.assert_refused(&scene.pay(&token, "{}").await, 404, "operation-not-permitted").await;
    let metrics = scene.gateway.admin("GET", "/metrics").send().await.text();
    assert!(metrics.contains("vestibule_policies_last_reload_successful 0"), "{metrics}");

    scene.write("b.cedar", "permit (principal, action, resource").await;
    assert_eq!(scene.status().await["problems"][0]["line"], 1);
    scene.write("b.cedar", PAY).await;
    assert_eq!(scene.status().await["problems"], json!([]));
    scene.assert_permitted(&scene.pay(&token, "{}").await, &["pay"]).await;
}

#[tokio::test]
async fn a_shadow_file_decides_nothing_and_is_in_the_record() {
    let strict = r#"@id("strict") forbid (principal, action == Action::"api__look", resource);
        @id("loose") permit (principal, action == Action::"api__pay", resource);"#;
    let scene = Scene::new(&[("all.cedar", LOOK), ("next.shadow.cedar", strict)]).await;
    let token = scene.token("a", json!({})).await;
    let permitted = scene.look(&token).await;
    scene.assert_permitted(&permitted, &["look"]).await;
    assert_eq!(scene.gateway.attempt_of(&permitted).await["shadow"], json!([r#"deny Agent::"a" by strict"#]));
    let refused = scene.pay(&token, "{}").await;
    scene.assert_refused(&refused, 404, "operation-not-permitted").await;
    assert_eq!(scene.gateway.attempt_of(&refused).await["shadow"], json!([r#"permit Agent::"a" by loose"#]));
    // The file loses its shadow: now it counts.
    let folder = scene.gateway.dir.path().join("policies");
    std::fs::rename(folder.join("next.shadow.cedar"), folder.join("next.cedar")).unwrap();
    scene.gateway.running().reload().await;
    scene.assert_refused(&scene.look(&token).await, 404, "operation-not-permitted").await;
    scene.assert_permitted(&scene.pay(&token, "{}").await, &["loose"]).await;
}

#[tokio::test]
async fn a_folder_that_could_not_be_read_for_a_while_leaves_no_problem_behind() {
    let scene = Scene::new(&[("all.cedar", PERMIT_TESTERS)]).await;
    let token = scene.token("a", json!({})).await;
    let odd = scene.gateway.dir.path().join("policies/odd.cedar");
    std::fs::create_dir(&odd).unwrap();
    scene.gateway.running().reload().await;
    assert!(scene.status().await["problems"][0]["file"].as_str().unwrap().ends_with("odd.cedar"));
    scene.assert_permitted(&scene.look(&token).await, &["testers"]).await;
    std::fs::remove_dir(&odd).unwrap();
    scene.gateway.running().reload().await;
    assert_eq!(scene.status().await["problems"], json!([]));
}
