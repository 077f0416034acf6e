//! Samples as people and programs read them.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dse_core::node::{Headers, Sample};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

/// Appends the sample as one line of JSON.
///
/// The payload is the JSON itself for `application/json`, a string for `text/*`, else
/// base64; a payload that is not what its encoding says is base64, too. Headers, where there
/// are any, are an object of texts; one that is no text is base64 under its name and `_base64`.
pub fn append_json(sample: &Sample, line: &mut Vec<u8>) {
    let (payload, payload_base64) = payload_fields(&sample.origin.encoding, &sample.payload);
    let shape = SampleLine {
        key: sample.origin.key.as_str(),
        node: sample.origin.node.as_str(),
        kind: sample.origin.kind.to_string(),
        seq: sample.seq,
        time_ns: sample.time_ns,
        encoding: &sample.origin.encoding,
        headers: if sample.headers.is_empty() { None } else { Some(HeadersShape(&sample.headers)) },
        payload,
        payload_base64,
    };
    // Writing to memory what holds no map with odd keys cannot fail.
    if serde_json::to_writer(&mut *line, &shape).is_ok() {
        line.push(b'\n');
    }
}

/// Appends the sample as one line for people: the key and the payload.
pub fn append_text(sample: &Sample, line: &mut Vec<u8>) {
    let shown = match std::str::from_utf8(&sample.payload) {
        Ok(text) => printable(text),
        Err(_) => {
            format!("<{} bytes of {}>", sample.payload.len(), printable(&sample.origin.encoding))
                .into()
        }
    };
    line.extend_from_slice(format!("{} {shown}\n", sample.origin.key).as_bytes());
}

/// The text without control characters: what comes from the network must neither break
/// the line nor steer the terminal.
pub fn printable(text: &str) -> Cow<'_, str> {
    let steers = |c: char| c.is_control() && c != '\t';
    if !text.contains(steers) {
        return text.into();
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if steers(c) {
            // Writing to a string cannot fail.
            let _ = write!(shown, "{}", c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown.into()
}

#[derive(Serialize)]
struct SampleLine<'a> {
    key: &'a str,
    node: &'a str,
    kind: String,
    seq: u64,
    time_ns: u64,
    encoding: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    headers: Option<HeadersShape<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<Payload<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
}

/// Headers as a JSON object; of a name that comes twice the first.
struct HeadersShape<'a>(&'a Headers);

impl Serialize for HeadersShape<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut names = BTreeSet::new();
        let first = self.0.iter().filter(|(name, _)| names.insert(*name));
        // A name has no underscore, so it never looks like one of base64.
        serializer.collect_map(first.map(|(name, value)| match std::str::from_utf8(value) {
            Ok(text) => (Cow::from(name), Cow::from(text)),
            Err(_) => (format!("{name}_base64").into(), STANDARD.encode(value).into()),
        }))
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum Payload<'a> {
    Json(Box<RawValue>),
    Text(&'a str),
}

fn payload_fields<'a>(encoding: &str, payload: &'a [u8]) -> (Option<Payload<'a>>, Option<String>) {
    let media_type = encoding.split(';').next().unwrap_or_default().trim();
    let text = std::str::from_utf8(payload).ok();
    let shown = match text {
        Some(text) if media_type == "application/json" => one_line_json(text).map(Payload::Json),
        Some(text) if media_type.starts_with("text/") => Some(Payload::Text(text)),
        _ => None,
    };
    let base64 = shown.is_none().then(|| STANDARD.encode(payload));
    (shown, base64)
}

/// The JSON as it is, on one line: line breaks are only ever white space in JSON, as
/// strings cannot hold them.
fn one_line_json(text: &str) -> Option<Box<RawValue>> {
    RawValue::from_string(text.replace(['\n', '\r'], " ").trim().to_owned()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(encoding: &str, payload: &[u8]) -> String {
        let (payload, base64) = payload_fields(encoding, payload);
        match (payload, base64) {
            (Some(payload), None) => serde_json::to_string(&payload).expect("serializable"),
            (None, Some(base64)) => format!("base64 {base64}"),
            _ => panic!("exactly one of the two"),
        }
    }

    #[test]
    fn payloads_take_the_form_of_their_encoding() {
        assert_eq!(
            fields("application/json", b"{\"b\": 1,\n \"a\": 2}\n"),
            "{\"b\": 1,  \"a\": 2}"
        );
        assert_eq!(fields("text/plain; charset=utf-8", "h\u{e9}\n".as_bytes()), "\"h\u{e9}\\n\"");
        assert_eq!(fields("application/octet-stream", b"hi"), "base64 aGk=");
    }

    #[test]
    fn headers_that_are_no_text_are_base64() {
        let pairs = [("unit", &b"C"[..]), ("raw", &b"\xff"[..]), ("unit", &b"F"[..])];
        let headers = Headers::from_pairs(pairs).expect("valid");
        let shown = serde_json::to_string(&HeadersShape(&headers)).expect("serializable");
        assert_eq!(shown, "{\"unit\":\"C\",\"raw_base64\":\"/w==\"}");
    }

    #[test]
    fn what_is_not_what_it_says_is_base64() {
        assert_eq!(fields("application/json", b"{"), "base64 ew==");
        assert_eq!(fields("text/plain", b"\xff"), "base64 /w==");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(printable("a\tb"), "a\tb");
        assert_eq!(printable("a\u{1b}[2J\nb"), "a\\u{1b}[2J\\nb");
    }
}
