//! References between catalog objects: PostgreSQL's pairs of catalog OID and object OID.
//!
//! OIDs are valid only inside the database they were read from. The stored catalog keeps them because `pg_depend` uses
//! them, and because they connect comments, labels and dependencies with their objects. Rendered SQL never contains
//! one.

use serde::{Deserialize, Serialize};

/// OIDs of the system catalogs, which are fixed in the server's headers (`src/include/catalog`) and the same in every
/// version.
pub mod class {
    /// `pg_type`
    pub const TYPE: u32 = 1247;
    /// `pg_proc`
    pub const PROC: u32 = 1255;
    /// `pg_class`
    pub const CLASS: u32 = 1259;
    /// `pg_authid`
    pub const ROLE: u32 = 1260;
    /// `pg_database`
    pub const DATABASE: u32 = 1262;
    /// `pg_foreign_server`
    pub const FOREIGN_SERVER: u32 = 1417;
    /// `pg_user_mapping`
    pub const USER_MAPPING: u32 = 1418;
    /// `pg_foreign_data_wrapper`
    pub const FOREIGN_DATA_WRAPPER: u32 = 2328;
    /// `pg_am`
    pub const ACCESS_METHOD: u32 = 2601;
    /// `pg_amop`
    pub const AMOP: u32 = 2602;
    /// `pg_amproc`
    pub const AMPROC: u32 = 2603;
    /// `pg_attrdef`
    pub const DEFAULT: u32 = 2604;
    /// `pg_cast`
    pub const CAST: u32 = 2605;
    /// `pg_constraint`
    pub const CONSTRAINT: u32 = 2606;
    /// `pg_conversion`
    pub const CONVERSION: u32 = 2607;
    /// `pg_language`
    pub const LANGUAGE: u32 = 2612;
    /// `pg_largeobject`: the class under which comments, labels and initial privileges of large objects are kept
    pub const LARGE_OBJECT: u32 = 2613;
    /// `pg_namespace`
    pub const SCHEMA: u32 = 2615;
    /// `pg_opclass`
    pub const OPERATOR_CLASS: u32 = 2616;
    /// `pg_operator`
    pub const OPERATOR: u32 = 2617;
    /// `pg_rewrite`
    pub const RULE: u32 = 2618;
    /// `pg_trigger`
    pub const TRIGGER: u32 = 2620;
    /// `pg_opfamily`
    pub const OPERATOR_FAMILY: u32 = 2753;
    /// `pg_extension`
    pub const EXTENSION: u32 = 3079;
    /// `pg_policy`
    pub const POLICY: u32 = 3256;
    /// `pg_statistic_ext`
    pub const STATISTICS: u32 = 3381;
    /// `pg_collation`
    pub const COLLATION: u32 = 3456;
    /// `pg_event_trigger`
    pub const EVENT_TRIGGER: u32 = 3466;
    /// `pg_transform`
    pub const TRANSFORM: u32 = 3576;
    /// `pg_ts_dict`
    pub const TS_DICTIONARY: u32 = 3600;
    /// `pg_ts_parser`
    pub const TS_PARSER: u32 = 3601;
    /// `pg_ts_config`
    pub const TS_CONFIGURATION: u32 = 3602;
    /// `pg_ts_template`
    pub const TS_TEMPLATE: u32 = 3764;
    /// `pg_subscription`
    pub const SUBSCRIPTION: u32 = 6100;
    /// `pg_publication`
    pub const PUBLICATION: u32 = 6104;
    /// `pg_publication_rel`
    pub const PUBLICATION_TABLE: u32 = 6106;
    /// `pg_publication_namespace` (15 and newer)
    pub const PUBLICATION_SCHEMA: u32 = 6237;
    /// `pg_default_acl`
    pub const DEFAULT_ACL: u32 = 826;
}

/// An object as in `pg_depend`: the OID of its catalog and its own OID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Address {
    /// OID of the system catalog, one of [`class`].
    pub class: u32,
    /// OID of the object.
    pub oid: u32,
}

impl Address {
    /// The address of object `oid` in catalog `class`.
    pub const fn new(class: u32, oid: u32) -> Self {
        Self { class, oid }
    }
}

/// A row of `pg_depend`: `class`/`oid` depends on `ref_class`/`ref_oid`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dependency {
    /// Catalog of the dependent object.
    pub class: u32,
    /// OID of the dependent object.
    pub oid: u32,
    /// Column of the dependent object, 0 for the whole.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub sub: i32,
    /// Catalog of the object depended on.
    pub ref_class: u32,
    /// OID of the object depended on.
    pub ref_oid: u32,
    /// Column of the object depended on, 0 for the whole.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub ref_sub: i32,
    /// How strongly: the `deptype` of `pg_depend`.
    pub kind: DependencyKind,
}

impl Dependency {
    /// The dependent object.
    pub const fn from(&self) -> Address {
        Address::new(self.class, self.oid)
    }

    /// The object depended on.
    pub const fn to(&self) -> Address {
        Address::new(self.ref_class, self.ref_oid)
    }
}

fn is_zero(value: &i32) -> bool {
    *value == 0
}

/// `pg_depend.deptype`, without kinds that do not affect the order (pins, extension membership).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DependencyKind {
    /// `DEPENDENCY_NORMAL`: an ordinary reference.
    #[serde(alias = "n")]
    Normal,
    /// `DEPENDENCY_AUTO`: dropped together with the referenced object.
    #[serde(alias = "a")]
    Auto,
    /// `DEPENDENCY_INTERNAL`: part of the implementation of the referenced object.
    #[serde(alias = "i")]
    Internal,
    /// `DEPENDENCY_PARTITION_PRI`: an object of a partition and the one of its parent.
    #[serde(alias = "P")]
    PartitionPrimary,
    /// `DEPENDENCY_PARTITION_SEC`: an object of a partition and the partition itself.
    #[serde(alias = "S")]
    PartitionSecondary,
    /// `DEPENDENCY_AUTO_EXTENSION`: created by `ALTER … DEPENDS ON EXTENSION`.
    #[serde(alias = "x")]
    AutoExtension,
}

/// An object that is ordered as part of another one: a table's row type, an element type's array type, a constraint's
/// index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alias {
    /// Catalog of the part.
    pub class: u32,
    /// OID of the part.
    pub oid: u32,
    /// Catalog of the whole.
    pub of_class: u32,
    /// OID of the whole.
    pub of_oid: u32,
}
