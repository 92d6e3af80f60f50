//! Labelled lists of pictures: CSV with a header line. Paths are relative to the list.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// What is wrong with a list.
#[derive(Debug, thiserror::Error)]
pub enum ListFault {
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: csv::Error },
    #[error("{}: the header must have the columns a, b, same (pairs) or image, identity", path.display())]
    Header { path: PathBuf },
    #[error("{}: the header must have the columns file, label", path.display())]
    LivenessHeader { path: PathBuf },
    #[error("{}, line {line}: {what}", path.display())]
    Row { path: PathBuf, line: u64, what: String },
    #[error("{} names no pictures", path.display())]
    Empty { path: PathBuf },
}

/// Pictures, and the pairs of them that are compared.
#[derive(Debug, Clone, PartialEq)]
pub struct List {
    /// The path of each picture once, as the list has it.
    pub images: Vec<String>,
    pub pairs: Pairs,
}

/// Which pairs are compared, and which of them show one person. Numbers are indices of [`List::images`].
#[derive(Debug, Clone, PartialEq)]
pub enum Pairs {
    Listed(Vec<LabelledPair>),
    /// All pairs of two different pictures.
    Crossed {
        /// The number of the person that each picture shows.
        identities: Vec<u32>,
        /// The group of each picture, if the list has that column.
        groups: Option<Vec<String>>,
    },
}

/// One row of a list of pairs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelledPair {
    pub a: u32,
    pub b: u32,
    pub same: bool,
    pub group: Option<String>,
}

impl List {
    /// Reads a list. Unknown columns are ignored.
    ///
    /// # Errors
    /// When it cannot be read, has the columns of neither form, or a row is malformed. The error names the line.
    pub fn read(path: &Path) -> Result<Self, ListFault> {
        let fault = |source| ListFault::Read { path: path.to_owned(), source };
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_path(path).map_err(fault)?;
        let headers = reader.headers().map_err(fault)?.clone();
        let column = |name: &str| headers.iter().position(|header| header.trim_start_matches('\u{feff}') == name);
        let rows = reader.into_records().map(|row| {
            let row = row.map_err(fault)?;
            let line = row.position().map_or(0, csv::Position::line);
            Ok((line, row))
        });
        let group = column("group");
        let list = match (column("a"), column("b"), column("same"), column("image"), column("identity")) {
            (Some(a), Some(b), Some(same), _, _) => Self::pairs(path, rows, [a, b, same], group)?,
            (_, _, _, Some(image), Some(identity)) => Self::identities(path, rows, [image, identity], group)?,
            _ => return Err(ListFault::Header { path: path.to_owned() }),
        };
        if list.images.is_empty() { Err(ListFault::Empty { path: path.to_owned() }) } else { Ok(list) }
    }

    fn pairs(
        path: &Path,
        rows: impl Iterator<Item = Result<(u64, csv::StringRecord), ListFault>>,
        [a, b, same]: [usize; 3],
        group: Option<usize>,
    ) -> Result<Self, ListFault> {
        let (mut images, mut pairs) = (NumberedNames::default(), Vec::new());
        for row in rows {
            let (line, row) = row?;
            let wrong = |what: &str| ListFault::Row { path: path.to_owned(), line, what: what.to_owned() };
            let same = match row.get(same).unwrap_or_default() {
                "1" | "true" => true,
                "0" | "false" => false,
                other => return Err(wrong(&format!("same must be 1 or 0, not {other:?}"))),
            };
            let mut image = |at| Some(row.get(at)?).filter(|name| !name.is_empty()).map(|name| images.number(name));
            let (Some(a), Some(b)) = (image(a), image(b)) else { return Err(wrong("a and b must name pictures")) };
            if a == b {
                return Err(wrong("a and b are the same picture"));
            }
            pairs.push(LabelledPair { a, b, same, group: group.and_then(|at| row.get(at)).map(str::to_owned) });
        }
        Ok(Self { images: images.names, pairs: Pairs::Listed(pairs) })
    }

    fn identities(
        path: &Path,
        rows: impl Iterator<Item = Result<(u64, csv::StringRecord), ListFault>>,
        [image, identity]: [usize; 2],
        group: Option<usize>,
    ) -> Result<Self, ListFault> {
        let (mut images, mut people, mut identities, mut groups) =
            (NumberedNames::default(), NumberedNames::default(), Vec::new(), Vec::new());
        for row in rows {
            let (line, row) = row?;
            let wrong = |what: &str| ListFault::Row { path: path.to_owned(), line, what: what.to_owned() };
            let value = |at: usize| row.get(at).filter(|cell| !cell.is_empty());
            let (Some(image), Some(identity)) = (value(image), value(identity)) else {
                return Err(wrong("image and identity must not be empty"));
            };
            if images.number(image) as usize != identities.len() {
                return Err(wrong(&format!("the picture {image} was listed already")));
            }
            identities.push(people.number(identity));
            groups.push(group.and_then(|at| row.get(at)).unwrap_or_default().to_owned());
        }
        let groups = group.map(|_| groups);
        Ok(Self { images: images.names, pairs: Pairs::Crossed { identities, groups } })
    }
}

/// Numbers names in the order of their first appearance.
#[derive(Default)]
struct NumberedNames {
    numbers: HashMap<String, u32>,
    names: Vec<String>,
}

impl NumberedNames {
    #[expect(clippy::cast_possible_truncation, reason = "a list of four billion pictures cannot be read anyway")]
    fn number(&mut self, name: &str) -> u32 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = self.names.len() as u32;
        self.numbers.insert(name.to_owned(), number);
        self.names.push(name.to_owned());
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<List, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let folder = file.path().display().to_string();
        List::read(file.path()).map_err(|fault| fault.to_string().replace(&folder, "list"))
    }

    #[test]
    fn pairs_name_each_picture_once_and_other_columns_are_ignored() {
        let list = read("fold,a,b,same,group\n0,x.jpg,y.jpg,1,men\n0,x.jpg,z.jpg,0,women\n").unwrap();
        assert_eq!(list.images, ["x.jpg", "y.jpg", "z.jpg"]);
        let pair = |a, b, same, group: &str| LabelledPair { a, b, same, group: Some(group.to_owned()) };
        assert_eq!(list.pairs, Pairs::Listed(vec![pair(0, 1, true, "men"), pair(0, 2, false, "women")]));
    }

    #[test]
    fn identities_are_numbered() {
        let list = read("image,identity\nx.jpg,Ann\ny.jpg,Bob\nz.jpg,Ann\n").unwrap();
        assert_eq!(list.pairs, Pairs::Crossed { identities: vec![0, 1, 0], groups: None });
    }

    #[test]
    fn malformed_lists_are_refused_with_the_line() {
        for (text, fault) in [
            ("a,b\nx,y\n", "list: the header must have the columns a, b, same (pairs) or image, identity"),
            ("a,b,same\nx,y,1\nx,y,maybe\n", "list, line 3: same must be 1 or 0, not \"maybe\""),
            ("a,b,same\nx,,1\n", "list, line 2: a and b must name pictures"),
            ("a,b,same\nx,x,1\n", "list, line 2: a and b are the same picture"),
            ("image,identity\nx,\n", "list, line 2: image and identity must not be empty"),
            ("image,identity\nx,A\nx,B\n", "list, line 3: the picture x was listed already"),
            ("image,identity\n", "list names no pictures"),
        ] {
            assert_eq!(read(text).unwrap_err(), fault);
        }
    }
}
