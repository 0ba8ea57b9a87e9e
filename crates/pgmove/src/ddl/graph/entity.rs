//! What a node of the graph creates: its kind and name, its section, its place among equals.

use crate::catalog::column::{Check, Column};
use crate::catalog::constraint::ForeignKey;
use crate::catalog::function::{Aggregate, Function};
use crate::catalog::index::Index;
use crate::catalog::large_object::LargeObject;
use crate::catalog::plain::{Plain, PlainKind};
use crate::catalog::rule::{Policy, Rule, Statistics, Trigger};
use crate::catalog::schema::{Extension, Schema};
use crate::catalog::sequence::Sequence;
use crate::catalog::table::Table;
use crate::catalog::types::Type;
use crate::ddl::script::{ObjectRef, Section};
use crate::timescaledb::model::Hypertable;

/// What a node creates.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Entity<'a> {
    Schema(&'a Schema),
    Extension(&'a Extension),
    /// The shell type that a type's own functions refer to.
    Shell(&'a Type),
    Type(&'a Type),
    DomainCheck(&'a Type, &'a Check),
    Function(&'a Function),
    Aggregate(&'a Aggregate),
    Plain(&'a Plain),
    Sequence(&'a Sequence),
    /// `OWNED BY`
    SequenceOwner(&'a Sequence),
    SequenceValue(&'a Sequence),
    Table(&'a Table),
    /// The query of a view that was first created empty.
    ViewBody(&'a Table),
    /// `ATTACH PARTITION`
    Attach(&'a Table),
    Default(&'a Table, &'a Column),
    /// A column without default whose parent's column has one.
    NoDefault(&'a Table, &'a Column),
    Check(&'a Table, &'a Check),
    /// A NOT NULL constraint that is not validated, or cannot be written inline.
    NotNull(&'a Table, &'a Column),
    Index(&'a Index),
    IndexAttach(&'a Index),
    ForeignKey(&'a ForeignKey),
    Trigger(&'a Trigger),
    Rule(&'a Rule),
    Policy(&'a Policy),
    RowSecurity(&'a Table),
    Statistics(&'a Statistics),
    LargeObject(&'a LargeObject),
    Refresh(&'a Table),
    /// The function for the current time of a hypertable with integer time.
    IntegerNow(&'a Hypertable),
    /// All privileges: one node, after everything else.
    Privileges,
    /// An object of an extension, which the extension creates.
    Gone,
}

impl Entity<'_> {
    /// Kind and name for messages.
    pub(crate) fn object(&self) -> ObjectRef {
        let (kind, name) = match self {
            Self::Schema(o) => ("schema", o.meta.qualified()),
            Self::Extension(o) => ("extension", o.meta.qualified()),
            Self::Shell(o) | Self::Type(o) => ("type", o.meta.qualified()),
            Self::DomainCheck(o, check) => {
                ("domain constraint", format!("{} on {}", check.name, o.meta.qualified()))
            }
            Self::Function(o) => (
                if o.procedure { "procedure" } else { "function" },
                format!("{}({})", o.meta.qualified(), o.arguments),
            ),
            Self::Aggregate(o) => ("aggregate", format!("{}({})", o.meta.qualified(), o.arguments)),
            Self::Plain(o) => {
                return ObjectRef { kind: o.kind.keyword().to_lowercase(), name: o.identity.clone() };
            }
            Self::Sequence(o) | Self::SequenceOwner(o) | Self::SequenceValue(o) => {
                ("sequence", o.meta.qualified())
            }
            Self::Table(o)
            | Self::ViewBody(o)
            | Self::Attach(o)
            | Self::RowSecurity(o)
            | Self::Refresh(o) => {
                return ObjectRef { kind: o.kind.keyword().to_lowercase(), name: o.meta.qualified() };
            }
            Self::Default(o, column) | Self::NoDefault(o, column) => {
                ("default", format!("{}.{}", o.meta.qualified(), crate::quote::ident(&column.name)))
            }
            Self::NotNull(o, column) => (
                "not-null constraint",
                format!("{}.{}", o.meta.qualified(), crate::quote::ident(&column.name)),
            ),
            Self::Check(o, check) => {
                ("check constraint", format!("{} on {}", check.name, o.meta.qualified()))
            }
            Self::Index(o) if o.constraint.is_some() => {
                ("constraint", format!("{} on {}", o.meta.name, o.table))
            }
            Self::Index(o) | Self::IndexAttach(o) => ("index", o.meta.qualified()),
            Self::ForeignKey(o) => ("foreign key", format!("{} on {}", o.name, o.table)),
            Self::Trigger(o) => ("trigger", format!("{} on {}", o.name, o.table)),
            Self::Rule(o) => ("rule", format!("{} on {}", o.name, o.table)),
            Self::Policy(o) => ("policy", format!("{} on {}", o.name, o.table)),
            Self::Statistics(o) => ("statistics", o.meta.qualified()),
            Self::LargeObject(o) => ("large object", o.meta.name.clone()),
            Self::IntegerNow(o) => ("hypertable", o.name.to_string()),
            Self::Privileges | Self::Gone => ("privileges", String::new()),
        };
        ObjectRef { kind: kind.to_owned(), name }
    }

    /// The section, unless a dependency requires a later one.
    pub(super) fn section(&self) -> Section {
        match self {
            Self::Check(_, check) if !check.validated => Section::PostData,
            Self::DomainCheck(_, check) if !check.validated => Section::PostData,
            Self::SequenceValue(_) => Section::Data,
            Self::NotNull(_, column) if column.not_null_constraint.as_ref().is_none_or(|c| c.validated) => {
                Section::PreData
            }
            Self::NotNull(..)
            | Self::Index(_)
            | Self::IndexAttach(_)
            | Self::ForeignKey(_)
            | Self::Trigger(_)
            | Self::Rule(_)
            | Self::Policy(_)
            | Self::RowSecurity(_)
            | Self::Statistics(_)
            | Self::IntegerNow(_)
            | Self::ViewBody(_) => Section::PostData,
            Self::Plain(plain) => match plain.kind {
                PlainKind::EventTrigger => Section::Finish,
                PlainKind::Publication
                | PlainKind::PublicationTable
                | PlainKind::PublicationSchema
                | PlainKind::Subscription => Section::PostData,
                _ => Section::PreData,
            },
            Self::Refresh(_) => Section::Finish,
            Self::Privileges => Section::Privileges,
            _ => Section::PreData,
        }
    }

    /// The position among nodes that no dependency orders: the order in which people write schemas.
    pub(super) fn rank(&self) -> u8 {
        match self {
            Self::Gone => 0,
            Self::Schema(_) => 1,
            Self::Extension(_) => 2,
            Self::Shell(_) => 3,
            Self::Type(_) | Self::DomainCheck(..) => 4,
            Self::Function(_) => 5,
            Self::Aggregate(_) => 6,
            Self::Plain(plain) => match plain.kind {
                PlainKind::Language => 2,
                PlainKind::Collation => 3,
                PlainKind::Publication => 70,
                PlainKind::PublicationTable | PlainKind::PublicationSchema => 71,
                PlainKind::Subscription => 72,
                PlainKind::EventTrigger => 91,
                _ => 7,
            },
            Self::Sequence(_) => 20,
            Self::LargeObject(_) => 25,
            Self::Table(_)
            | Self::Default(..)
            | Self::Check(..)
            | Self::NotNull(..)
            | Self::NoDefault(..) => 21,
            Self::SequenceOwner(_) => 22,
            Self::Attach(_) => 23,
            Self::SequenceValue(_) => 30,
            Self::IntegerNow(_) => 39,
            Self::Index(_) => 40,
            Self::IndexAttach(_) => 41,
            Self::Statistics(_) => 42,
            Self::ViewBody(_) => 43,
            Self::Rule(_) => 44,
            Self::Trigger(_) => 45,
            Self::ForeignKey(_) => 50,
            Self::RowSecurity(_) => 60,
            Self::Policy(_) => 61,
            Self::Privileges => 80,
            Self::Refresh(_) => 90,
        }
    }

    /// The name, for a stable order.
    pub(super) fn sort_name(&self) -> (String, String) {
        let object = self.object();
        (object.name, object.kind)
    }
}
