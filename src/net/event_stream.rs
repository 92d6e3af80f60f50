//! Parses server-sent events (WHATWG HTML, section 9.2.6).

/// A complete event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The last id of the stream, from this event or an earlier one.
    pub id: String,
    pub kind: String,
    pub data: String,
}

/// Takes bytes in any pieces and returns complete messages.
#[derive(Default)]
pub struct Parser {
    line: Vec<u8>,
    after_return: bool,
    id: String,
    kind: String,
    data: Vec<String>,
}

impl Parser {
    /// The messages that these bytes complete.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Message> {
        let mut messages = Vec::new();
        for byte in bytes {
            // A line ends with CR, LF or CR LF.
            let is_rest = *byte == b'\n' && std::mem::replace(&mut self.after_return, *byte == b'\r');
            self.after_return = *byte == b'\r';
            match byte {
                b'\n' if is_rest => {}
                b'\n' | b'\r' => messages.extend(self.end_line()),
                _ => self.line.push(*byte),
            }
        }
        messages
    }

    fn end_line(&mut self) -> Option<Message> {
        let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned();
        if line.is_empty() {
            let (kind, data) = (std::mem::take(&mut self.kind), std::mem::take(&mut self.data));
            return (!data.is_empty()).then(|| Message { id: self.id.clone(), kind, data: data.join("\n") });
        }
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" if !value.contains('\0') => value.clone_into(&mut self.id),
            "event" => value.clone_into(&mut self.kind),
            "data" => self.data.push(value.to_owned()),
            // A comment, or a field that we do not use.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STREAM: &str = ": hello\nretry: 1000\n\nid: 1\nevent: job.completed\ndata: {\"a\":1}\n\n:\r\n\r\ndata:one\r\ndata: two\rid\r\n\ndata: cut";

    fn message(id: &str, kind: &str, data: &str) -> Message {
        Message { id: id.to_owned(), kind: kind.to_owned(), data: data.to_owned() }
    }

    #[test]
    fn complete_messages_are_returned_without_comments_and_unfinished_ones() {
        let found = Parser::default().push(STREAM.as_bytes());
        assert_eq!(found, [message("1", "job.completed", "{\"a\":1}"), message("", "", "one\ntwo")]);
    }

    proptest! {
        #[test]
        fn the_messages_do_not_depend_on_the_pieces(cuts in proptest::collection::vec(0..STREAM.len(), 0..8)) {
            let mut cuts = cuts;
            cuts.extend([0, STREAM.len()]);
            cuts.sort_unstable();
            let mut parser = Parser::default();
            let pieces = cuts.windows(2).flat_map(|cut| parser.push(&STREAM.as_bytes()[cut[0]..cut[1]])).collect::<Vec<_>>();
            prop_assert_eq!(pieces, Parser::default().push(STREAM.as_bytes()));
        }
    }
}
