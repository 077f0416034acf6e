//! How serde reads a state into a [`Canon`]: each value as its field's meaning demands.

use serde::ser::{self, Serialize};

use super::canon::{Canon, Meaning};

/// Writing down cannot fail.
#[derive(Debug)]
pub(super) enum Never {}

impl std::fmt::Display for Never {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {}
    }
}

impl std::error::Error for Never {}

impl ser::Error for Never {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        // No type of the core's or the simulator's refuses to be serialized.
        panic!("a state cannot be written down: {message}")
    }
}

/// One record, list or map in the making.
pub(super) struct Inside<'a> {
    canon: &'a mut Canon,
    record: &'static str,
}

impl Inside<'_> {
    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Never> {
        value.serialize(&mut *self.canon)
    }

    fn field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), Never> {
        let meaning = Meaning::of(self.record, key);
        if meaning == Meaning::Left {
            return Ok(());
        }
        let before = std::mem::replace(&mut self.canon.meaning, meaning);
        let result = value.serialize(&mut *self.canon);
        self.canon.meaning = before;
        result
    }
}

macro_rules! integers {
    ($($method:ident $type:ty)*) => {
        $(fn $method(self, value: $type) -> Result<(), Never> {
            self.value(value as u64);
            Ok(())
        })*
    };
}

impl<'a> ser::Serializer for &'a mut Canon {
    type Ok = ();
    type Error = Never;
    type SerializeSeq = Inside<'a>;
    type SerializeTuple = Inside<'a>;
    type SerializeTupleStruct = Inside<'a>;
    type SerializeTupleVariant = Inside<'a>;
    type SerializeMap = Inside<'a>;
    type SerializeStruct = Inside<'a>;
    type SerializeStructVariant = Inside<'a>;

    integers! {
        serialize_bool bool serialize_i8 i8 serialize_i16 i16 serialize_i32 i32
        serialize_i64 i64 serialize_u8 u8 serialize_u16 u16 serialize_u32 u32
        serialize_u64 u64 serialize_char char
    }

    fn serialize_f32(self, value: f32) -> Result<(), Never> {
        self.serialize_f64(value.into())
    }

    fn serialize_f64(self, value: f64) -> Result<(), Never> {
        self.number(value.to_bits());
        Ok(())
    }

    fn serialize_str(self, value: &str) -> Result<(), Never> {
        self.text(value.as_bytes());
        Ok(())
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), Never> {
        self.text(value);
        Ok(())
    }

    fn serialize_none(self) -> Result<(), Never> {
        self.number(0);
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Never> {
        self.number(1);
        if self.meaning == Meaning::Presence { Ok(()) } else { value.serialize(self) }
    }

    fn serialize_unit(self) -> Result<(), Never> {
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Never> {
        Ok(())
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
    ) -> Result<(), Never> {
        self.number(index.into());
        Ok(())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<(), Never> {
        match name {
            "LinkId" => self.links.push(self.numbers.len()),
            "DialId" => self.dials.push(self.numbers.len()),
            _ => {}
        }
        value.serialize(&mut *self)?;
        if name == "Instant"
            && let Some(at) = self.numbers.pop()
        {
            self.instant(at);
        }
        Ok(())
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
        value: &T,
    ) -> Result<(), Never> {
        self.number(index.into());
        value.serialize(self)
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<Inside<'a>, Never> {
        self.number(len.unwrap_or(usize::MAX) as u64);
        Ok(Inside { canon: self, record: "" })
    }

    fn serialize_tuple(self, _: usize) -> Result<Inside<'a>, Never> {
        Ok(Inside { canon: self, record: "" })
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Inside<'a>, Never> {
        Ok(Inside { canon: self, record: "" })
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Inside<'a>, Never> {
        self.number(index.into());
        Ok(Inside { canon: self, record: "" })
    }

    fn serialize_map(self, len: Option<usize>) -> Result<Inside<'a>, Never> {
        self.serialize_seq(len)
    }

    fn serialize_struct(self, record: &'static str, _: usize) -> Result<Inside<'a>, Never> {
        Ok(Inside { canon: self, record })
    }

    fn serialize_struct_variant(
        self,
        record: &'static str,
        index: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Inside<'a>, Never> {
        self.number(index.into());
        Ok(Inside { canon: self, record })
    }
}

macro_rules! compounds {
    ($($compound:ident $method:ident)*) => {
        $(impl ser::$compound for Inside<'_> {
            type Ok = ();
            type Error = Never;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Never> {
                self.element(value)
            }

            fn end(self) -> Result<(), Never> {
                Ok(())
            }
        })*
    };
}

compounds! {
    SerializeSeq serialize_element
    SerializeTuple serialize_element
    SerializeTupleStruct serialize_field
    SerializeTupleVariant serialize_field
}

impl ser::SerializeMap for Inside<'_> {
    type Ok = ();
    type Error = Never;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Never> {
        self.element(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Never> {
        self.element(value)
    }

    fn end(self) -> Result<(), Never> {
        Ok(())
    }
}

macro_rules! records {
    ($($record:ident)*) => {
        $(impl ser::$record for Inside<'_> {
            type Ok = ();
            type Error = Never;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                key: &'static str,
                value: &T,
            ) -> Result<(), Never> {
                self.field(key, value)
            }

            fn end(self) -> Result<(), Never> {
                Ok(())
            }
        })*
    };
}

records! { SerializeStruct SerializeStructVariant }
