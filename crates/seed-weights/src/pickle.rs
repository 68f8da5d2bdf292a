//! What a pickle says, without doing what it asks for: calls are noted, not made.
//!
//! The format is `pickle` of Python's library, protocols 0 to 5 as far as `torch.save` writes them.

use std::collections::HashMap;

/// Place of a value among all.
pub(crate) type Id = usize;

/// A value, others in it by their places: a pickle may name one in several of them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Text(String),
    Int(i64),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// A function or a class, `module.name`.
    Global(String),
    /// What a function would give of these arguments.
    Called(Id, Id),
    /// What lies outside of the pickle, by its name.
    Outside(Id),
    /// Of no use here: nothing, a truth value, a fraction, bytes.
    Other,
}

/// All values of a pickle, and which of them is meant.
#[derive(Debug)]
pub(crate) struct Pickle {
    values: Vec<Value>,
    root: Id,
}

impl Pickle {
    /// Reads a pickle; `None` if it is damaged or of a kind that `torch.save` does not write.
    ///
    /// There are at most as many values as bytes.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let mut machine = Machine {
            bytes,
            values: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
        };
        let root = machine.run()?;
        Some(Self {
            values: machine.values,
            root,
        })
    }

    pub(crate) fn root(&self) -> Id {
        self.root
    }

    pub(crate) fn value(&self, id: Id) -> &Value {
        &self.values[id]
    }

    /// The value of a key of a dict.
    pub(crate) fn entry(&self, dict: Id, key: &str) -> Option<Id> {
        let Value::Dict(items) = self.value(dict) else {
            return None;
        };
        let is_key = |id: &Id| matches!(self.value(*id), Value::Text(text) if text == key);
        // Of two, Python keeps the last.
        let found = items.iter().rev().find(|(found, _)| is_key(found));
        found.map(|(_, value)| *value)
    }

    pub(crate) fn text(&self, id: Id) -> Option<&str> {
        match self.value(id) {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn size(&self, id: Id) -> Option<usize> {
        match self.value(id) {
            Value::Int(number) => usize::try_from(*number).ok(),
            _ => None,
        }
    }

    pub(crate) fn tuple(&self, id: Id) -> Option<&[Id]> {
        match self.value(id) {
            Value::Tuple(items) => Some(items),
            _ => None,
        }
    }

    /// A tuple of sizes.
    pub(crate) fn sizes(&self, id: Id) -> Option<Vec<usize>> {
        self.tuple(id)?
            .iter()
            .map(|item| self.size(*item))
            .collect()
    }
}

/// The stack machine that a pickle is a program of.
struct Machine<'a> {
    bytes: &'a [u8],
    values: Vec<Value>,
    stack: Vec<Id>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
}

impl<'a> Machine<'a> {
    fn run(&mut self) -> Option<Id> {
        loop {
            let [op] = self.take()?;
            if op == b'.' {
                return self.stack.pop();
            }
            self.step(op)?;
        }
    }

    fn step(&mut self, op: u8) -> Option<()> {
        match op {
            // Protocol, and a frame's length: nothing follows from them.
            0x80 => self.skip(1)?,
            0x95 => self.skip(8)?,
            b'(' => self.marks.push(self.stack.len()),
            b'0' => {
                self.stack.pop()?;
            }
            b'1' => drop(self.above_mark()?),
            b'2' => self.stack.push(*self.stack.last()?),
            b'N' | 0x88 | 0x89 => self.push(Value::Other),
            b'G' => self.opaque(8)?,
            b'F' => {
                self.line()?;
                self.push(Value::Other);
            }
            b'K' | b'M' | b'J' | b'I' | b'L' | 0x8a | 0x8b => self.number(op)?,
            b'X' | b'T' | b'U' | b'V' | b'S' | 0x8c | 0x8d => self.string(op)?,
            b'B' | b'C' | 0x8e | 0x96 => {
                let length = match op {
                    b'B' => self.unsigned(4)?,
                    b'C' => self.unsigned(1)?,
                    _ => self.unsigned(8)?,
                };
                self.opaque(usize::try_from(length).ok()?)?;
            }
            b'c' | 0x93 | b'R' | b'b' | b'Q' | b'P' | 0x81 | 0x92 => self.object(op)?,
            b'q' | b'r' | b'p' | 0x94 | b'h' | b'j' | b'g' => self.remember(op)?,
            _ => self.collection(op)?,
        }
        Some(())
    }

    fn number(&mut self, op: u8) -> Option<()> {
        let number = match op {
            b'K' => i64::from(u8::from_le_bytes(self.take()?)),
            b'M' => i64::from(u16::from_le_bytes(self.take()?)),
            b'J' => i64::from(i32::from_le_bytes(self.take()?)),
            0x8a | 0x8b => {
                let length = self.unsigned(if op == 0x8a { 1 } else { 4 })?;
                let digits = self.take_slice(usize::try_from(length).ok()?)?;
                let Some(number) = long(digits) else {
                    // Wider than any size.
                    self.push(Value::Other);
                    return Some(());
                };
                number
            }
            _ => {
                let line = self.line()?;
                line.trim_end_matches('L').parse().ok()?
            }
        };
        self.push(Value::Int(number));
        Some(())
    }

    fn string(&mut self, op: u8) -> Option<()> {
        let text = if matches!(op, b'V' | b'S') {
            self.line()?.trim_matches(['\'', '"']).to_owned()
        } else {
            let length = match op {
                b'U' | 0x8c => self.unsigned(1)?,
                0x8d => self.unsigned(8)?,
                _ => self.unsigned(4)?,
            };
            let bytes = self.take_slice(usize::try_from(length).ok()?)?;
            String::from_utf8_lossy(bytes).into_owned()
        };
        self.push(Value::Text(text));
        Some(())
    }

    fn object(&mut self, op: u8) -> Option<()> {
        match op {
            b'c' => {
                let name = format!("{}.{}", self.line()?, self.line()?);
                self.push(Value::Global(name));
            }
            0x93 => {
                let (name, module) = (self.stack.pop()?, self.stack.pop()?);
                let text = |id: Id| match &self.values[id] {
                    Value::Text(text) => Some(text.as_str()),
                    _ => None,
                };
                let name = format!("{}.{}", text(module)?, text(name)?);
                self.push(Value::Global(name));
            }
            // What an object is made of is not looked into.
            b'b' => {
                self.stack.pop()?;
            }
            b'Q' => {
                let name = self.stack.pop()?;
                self.push(Value::Outside(name));
            }
            b'P' => {
                let name = self.line()?.to_owned();
                self.push(Value::Text(name));
                self.object(b'Q')?;
            }
            _ => {
                if op == 0x92 {
                    self.stack.pop()?;
                }
                let (arguments, function) = (self.stack.pop()?, self.stack.pop()?);
                let called = self.called(function, arguments);
                self.push(called);
            }
        }
        Some(())
    }

    /// What a call gives: the containers of Python's library are made, of everything else it is noted.
    fn called(&self, function: Id, arguments: Id) -> Value {
        let is_ordered = matches!(&self.values[function], Value::Global(name) if name == "collections.OrderedDict");
        if !is_ordered {
            return Value::Called(function, arguments);
        }
        let Value::Tuple(given) = &self.values[arguments] else {
            return Value::Other;
        };
        // Older ones come with their items.
        let items = match given.first().map(|id| &self.values[*id]) {
            Some(Value::List(items)) => items.as_slice(),
            _ => &[],
        };
        let pairs = items.iter().filter_map(|item| match &self.values[*item] {
            Value::Tuple(pair) | Value::List(pair) if pair.len() == 2 => Some((pair[0], pair[1])),
            _ => None,
        });
        Value::Dict(pairs.collect())
    }

    fn remember(&mut self, op: u8) -> Option<()> {
        let place = match op {
            b'q' | b'h' => self.unsigned(1)?,
            b'r' | b'j' => self.unsigned(4)?,
            b'p' | b'g' => self.line()?.parse().ok()?,
            _ => self.memo.len() as u64,
        };
        if matches!(op, b'h' | b'j' | b'g') {
            let found = *self.memo.get(&place)?;
            self.stack.push(found);
        } else {
            self.memo.insert(place, *self.stack.last()?);
        }
        Some(())
    }

    fn collection(&mut self, op: u8) -> Option<()> {
        match op {
            b'}' => self.push(Value::Dict(Vec::new())),
            b']' | 0x8f => self.push(Value::List(Vec::new())),
            b')' => self.push(Value::Tuple(Vec::new())),
            b't' => {
                let items = self.above_mark()?;
                self.push(Value::Tuple(items));
            }
            0x85..=0x87 => {
                let count = usize::from(op - 0x84);
                let start = self.stack.len().checked_sub(count)?;
                let items = self.stack.split_off(start);
                self.push(Value::Tuple(items));
            }
            b'l' | 0x91 => {
                let items = self.above_mark()?;
                self.push(Value::List(items));
            }
            b'd' => {
                let items = self.above_mark()?;
                self.push(Value::Dict(pairs(&items)?));
            }
            b'a' => {
                let item = self.stack.pop()?;
                self.append(vec![item])?;
            }
            b'e' | 0x90 => {
                let items = self.above_mark()?;
                self.append(items)?;
            }
            b's' => {
                let (value, key) = (self.stack.pop()?, self.stack.pop()?);
                self.set(vec![(key, value)])?;
            }
            b'u' => {
                let items = self.above_mark()?;
                self.set(pairs(&items)?)?;
            }
            _ => return None,
        }
        Some(())
    }

    fn append(&mut self, mut items: Vec<Id>) -> Option<()> {
        if let Value::List(list) = &mut self.values[*self.stack.last()?] {
            list.append(&mut items);
        }
        Some(())
    }

    /// Sets entries of a dict, or of what was made by a call and must be one then, such as a `defaultdict`.
    fn set(&mut self, mut items: Vec<(Id, Id)>) -> Option<()> {
        match &mut self.values[*self.stack.last()?] {
            Value::Dict(dict) => dict.append(&mut items),
            other => *other = Value::Dict(items),
        }
        Some(())
    }

    fn push(&mut self, value: Value) {
        self.stack.push(self.values.len());
        self.values.push(value);
    }

    /// Pushes a value of that many bytes.
    fn opaque(&mut self, bytes: usize) -> Option<()> {
        self.skip(bytes)?;
        self.push(Value::Other);
        Some(())
    }

    fn above_mark(&mut self) -> Option<Vec<Id>> {
        let mark = self.marks.pop()?;
        (mark <= self.stack.len()).then(|| self.stack.split_off(mark))
    }

    fn take_slice(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(length)?;
        self.bytes = rest;
        Some(taken)
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take_slice(N)?.try_into().ok()
    }

    fn skip(&mut self, length: usize) -> Option<()> {
        self.take_slice(length).map(drop)
    }

    /// A little-endian number of so many bytes.
    fn unsigned(&mut self, length: usize) -> Option<u64> {
        let bytes = self.take_slice(length)?.iter().rev();
        Some(bytes.fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }

    fn line(&mut self) -> Option<&'a str> {
        let length = self.bytes.iter().position(|&byte| byte == b'\n')?;
        let line = self.take_slice(length + 1)?;
        std::str::from_utf8(&line[..length]).ok()
    }
}

fn pairs(items: &[Id]) -> Option<Vec<(Id, Id)>> {
    let (pairs, rest) = items.as_chunks::<2>();
    rest.is_empty()
        .then(|| pairs.iter().map(|&[key, value]| (key, value)).collect())
}

/// A little-endian number in two's complement, if it has at most 64 bits.
fn long(digits: &[u8]) -> Option<i64> {
    let negative = digits.last().is_some_and(|&byte| byte >= 0x80);
    let mut bytes = [if negative { 0xff } else { 0 }; 8];
    bytes.get_mut(..digits.len())?.copy_from_slice(digits);
    Some(i64::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_texts_of_every_protocol() {
        for (bytes, value) in [
            (&b"\x80\x02K\x07."[..], Value::Int(7)),
            (b"M\x01\x02.", Value::Int(0x201)),
            (b"J\xff\xff\xff\xff.", Value::Int(-1)),
            (b"\x8a\x02\x00\x80.", Value::Int(-32768)),
            (b"\x8a\x00.", Value::Int(0)),
            (b"I12\n.", Value::Int(12)),
            (b"L12L\n.", Value::Int(12)),
            (b"\x8a\x09\0\0\0\0\0\0\0\0\x01.", Value::Other),
            (b"X\x02\0\0\0ab.", Value::Text("ab".to_owned())),
            (b"\x8c\x02ab.", Value::Text("ab".to_owned())),
            (b"S'ab'\n.", Value::Text("ab".to_owned())),
            (
                b"ctorch\nTensor\n.",
                Value::Global("torch.Tensor".to_owned()),
            ),
            (b"G\0\0\0\0\0\0\0\0.", Value::Other),
        ] {
            let pickle = Pickle::read(bytes).unwrap();
            assert_eq!(pickle.value(pickle.root()), &value, "{bytes:?}");
        }
    }

    /// A dict that is named twice, of which one key is a class.
    #[test]
    fn values_are_shared_and_keys_may_be_anything() {
        let bytes = b"}q\0(X\x01\0\0\0aK\x01cx\nY\n}X\x01\0\0\0bh\0u.";
        let pickle = Pickle::read(bytes).unwrap();
        let root = pickle.root();
        assert_eq!(
            pickle.entry(root, "a").and_then(|id| pickle.size(id)),
            Some(1)
        );
        assert_eq!(pickle.entry(root, "b"), Some(root));
        assert_eq!(pickle.entry(root, "c"), None);
        // What a call made takes entries: `defaultdict(list)`.
        let bytes = b"ccollections\ndefaultdict\n)RX\x01\0\0\0aK\x05s.";
        let pickle = Pickle::read(bytes).unwrap();
        let entry = pickle.entry(pickle.root(), "a").unwrap();
        assert_eq!(pickle.size(entry), Some(5));
    }

    #[test]
    fn damaged_pickles_are_none() {
        for bytes in [
            &b""[..],
            b".",
            b"K",
            b"t.",
            b"X\xff\xff\xff\xffa.",
            b"\x8d\xff\xff\xff\xff\xff\xff\xff\xffa.",
            b"h\x05.",
            b"(K\x01d.",
            b"s.",
            b"\xff.",
            b"((0tt.",
        ] {
            assert!(Pickle::read(bytes).is_none(), "{bytes:?}");
        }
    }
}
