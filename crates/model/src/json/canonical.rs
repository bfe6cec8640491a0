use super::Json;

/// RFC 8785 §3.2: members sorted by UTF-16 code units, shortest number form, minimal escapes.
pub(super) fn write(value: &Json, out: &mut String) {
    match value {
        Json::Null => out.push_str("null"),
        Json::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Json::Number(number) => write_number(number, out),
        Json::String(text) => write_string(text, out),
        Json::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write(item, out);
            }
            out.push(']');
        }
        Json::Object(members) => {
            let mut sorted: Vec<&(String, Json)> = members.iter().collect();
            sorted.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
            out.push('{');
            for (index, (key, member)) in sorted.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_string(key, out);
                out.push(':');
                write(member, out);
            }
            out.push('}');
        }
    }
}

fn write_number(number: &super::Number, out: &mut String) {
    const EXACT_MAX: i64 = 1 << 53;
    if let Some(value) = number.as_i64().filter(|value| (-EXACT_MAX..=EXACT_MAX).contains(value)) {
        out.push_str(&value.to_string());
        return;
    }
    match number.as_str().parse::<f64>() {
        Ok(value) if value.is_finite() => out.push_str(ryu_js::Buffer::new().format_finite(value)),
        // Beyond a double: the text itself is the only faithful form, and RFC 8785 leaves such numbers out.
        Ok(_) | Err(_) => out.push_str(number.as_str()),
    }
}

/// RFC 8785 §3.2.2.2: the two-character escapes where JSON has them, `\u00xx` for other controls, nothing else.
fn write_string(text: &str, out: &mut String) {
    out.push('"');
    let mut rest = text;
    // Runs without escapes, nearly everything, are copied whole.
    while let Some(at) = rest.find(|c| c < ' ' || c == '"' || c == '\\') {
        let (run, special) = rest.split_at(at);
        out.push_str(run);
        let mut chars = special.chars();
        match chars.next().unwrap_or_default() {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            c => out.push_str(&format!("\\u{:04x}", u32::from(c))),
        }
        rest = chars.as_str();
    }
    out.push_str(rest);
    out.push('"');
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_example_of_rfc_8785_section_3_2_3() {
        let text = r#"{
            "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
            "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
            "literals": [null, true, false]
        }"#;
        let parsed = super::super::parse(text.as_bytes(), 8).expect("valid");
        assert_eq!(
            parsed.canonical(),
            "{\"literals\":[null,true,false],\"numbers\":[333333333.3333333,1e+30,4.5,0.002,1e-27],\"string\":\"€$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}"
        );
    }
}
