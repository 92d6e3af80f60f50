//! One delivery attempt: the HTTP call, and what its answer means.

use std::time::{Duration, Instant};

use bytes::Bytes;
use chrono::DateTime;

use super::signature::{self, Keys};
use crate::domain::delivery;
use crate::domain::webhook::envelope;
use crate::net::{self, Client, HeaderMap, Method, Request, Response, StatusCode, header};
use crate::store::deliveries::{AfterAttempt, Attempt, DueDelivery};

/// Bytes of an answer that are kept. No more are read.
const ANSWER: usize = 1024;

/// Makes the attempt and always returns its result.
pub(super) async fn attempt(client: &Client, due: DueDelivery, keys: &[Keys], timeout: Duration) -> Attempt {
    let since = Instant::now();
    let answer = if keys.is_empty() { Err("no_secret") } else { call(client, &due, keys, timeout).await };
    let duration = since.elapsed();
    let retry_after = answer.as_ref().ok().and_then(|response| retry_after(&response.headers));
    let next = match &answer {
        Ok(answer) if answer.status.is_success() => AfterAttempt::Delivered,
        Ok(answer) if answer.status == StatusCode::GONE => AfterAttempt::Gone,
        _ => {
            let wait = delivery::after_attempt(due.attempts + 1, rand::random(), retry_after);
            wait.map_or(AfterAttempt::Failed, AfterAttempt::Retry)
        }
    };
    Attempt {
        event_id: due.event_id,
        endpoint_id: due.endpoint_id,
        url: due.url,
        epoch: due.epoch,
        at: due.now,
        duration,
        answer: answer.as_ref().map(|response| text(&response.body)).unwrap_or_default(),
        status: answer.map(|response| response.status.as_u16()),
        next,
    }
}

/// # Errors
/// Why there is no answer, as one word.
async fn call(client: &Client, due: &DueDelivery, keys: &[Keys], timeout: Duration) -> Result<Response, &'static str> {
    let target = client.guard().check(&due.url).map_err(|_| "refused_target")?;
    let (id, timestamp) = (due.event_id.to_string(), due.now.timestamp());
    let body = envelope(&due.kind, due.created_at, &due.data);
    let signature = signature::sign(keys, &id, timestamp, &body);
    let headers = signature::headers(&id, timestamp, &signature).ok_or("malformed_header")?;
    let body = Some(Bytes::from(body));
    let request = Request { method: Method::POST, target, headers, body, timeout, max_answer: ANSWER };
    client.send_and_cut(request).await.map_err(|error| match error {
        net::Error::Refused(_) => "refused_target",
        net::Error::Timeout => "timeout",
        net::Error::Connect(_) => "no_connection",
        _ => "broken_off",
    })
}

/// The answer as text. Postgres stores any character but U+0000.
fn text(body: &[u8]) -> String {
    String::from_utf8_lossy(body).replace('\0', "\u{fffd}")
}

/// Reads `Retry-After`: seconds, or a date, which is compared with the answer's own `Date`.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = |text: &str| DateTime::parse_from_rfc2822(text).ok();
    let sent = date(headers.get(header::DATE)?.to_str().ok()?)?;
    (date(text)? - sent).to_std().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{HeaderName, HeaderValue};

    fn headers(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_that_counts_from_the_answers_own() {
        let date = (header::DATE, "Fri, 01 Aug 2025 12:00:00 GMT");
        let later = (header::RETRY_AFTER, "Fri, 01 Aug 2025 12:02:00 GMT");
        let of = |pairs: &[(HeaderName, &'static str)]| retry_after(&headers(pairs)).map(|wait| wait.as_secs());
        assert_eq!(of(&[(header::RETRY_AFTER, "17")]), Some(17));
        assert_eq!(of(&[date.clone(), later.clone()]), Some(120));
        assert_eq!(of(&[later]), None);
        assert_eq!(of(&[date.clone(), (header::RETRY_AFTER, "Fri, 01 Aug 2025 11:00:00 GMT")]), None);
        assert_eq!(of(&[date, (header::RETRY_AFTER, "soon")]), None);
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn an_answer_is_kept_as_text_whatever_its_bytes() {
        assert_eq!(text(b"fine\0\xff"), "fine\u{fffd}\u{fffd}");
    }
}
