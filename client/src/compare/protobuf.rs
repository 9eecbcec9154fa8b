//! The wire format of protocol buffers: numbers and windows under field numbers. Knows no message.

use super::bytes::Bytes;
use super::cursor::Cursor;
use super::limits::{Unreadable, malformed};

/// A field's value.
#[derive(Debug)]
pub(super) enum Value {
    Varint(u64),
    Fixed64([u8; 8]),
    Fixed32([u8; 4]),
    /// Text, bytes, a message, or packed numbers.
    Window(Bytes),
}

/// The fields of one message, in order.
#[derive(Debug)]
pub(super) struct Fields {
    cursor: Cursor,
}

impl Fields {
    pub(super) fn of(message: &Bytes) -> Fields {
        Fields {
            cursor: Cursor::new(message.clone()),
        }
    }

    /// The next field; `None` at the message's end.
    pub(super) fn next(&mut self) -> Result<Option<(u64, Value)>, Unreadable> {
        if self.cursor.is_at_end() {
            return Ok(None);
        }
        let key = varint(&mut self.cursor)?;
        let number = key >> 3;
        if number == 0 || number > 0x1fff_ffff {
            return malformed(format!(
                "field number {number} at byte {}",
                self.cursor.at()
            ));
        }
        let value = match key & 7 {
            0 => Value::Varint(varint(&mut self.cursor)?),
            1 => Value::Fixed64(self.cursor.array()?),
            2 => {
                let len = varint(&mut self.cursor)?;
                Value::Window(self.cursor.window(len)?)
            }
            5 => Value::Fixed32(self.cursor.array()?),
            other => return malformed(format!("wire type {other} at byte {}", self.cursor.at())),
        };
        Ok(Some((number, value)))
    }
}

/// A number of up to 64 bits.
pub(super) fn varint(cursor: &mut Cursor) -> Result<u64, Unreadable> {
    let mut value = 0_u64;
    for shift in 0..10 {
        let [byte] = cursor.array::<1>()?;
        let bits = u64::from(byte & 0x7f);
        if shift == 9 && bits > 1 {
            break;
        }
        value |= bits << (7 * shift);
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    malformed(format!(
        "a number before byte {} has more than 64 bits",
        cursor.at()
    ))
}

impl Value {
    /// The window of text, bytes or a message.
    pub(super) fn window(self) -> Result<Bytes, Unreadable> {
        match self {
            Value::Window(window) => Ok(window),
            other => malformed(format!("a field holds {other:?} where bytes are due")),
        }
    }

    pub(super) fn varint(self) -> Result<u64, Unreadable> {
        match self {
            Value::Varint(value) => Ok(value),
            other => malformed(format!("a field holds {other:?} where a number is due")),
        }
    }
}
