//! Corrects the privileges of restored objects if default privileges apply on the target.
//!
//! Grant and revoke statements are rendered for the privileges that an object has in a new database. In a target with
//! default privileges (from an earlier restore, or set by its owner) a table has additional ones, which no statement
//! revokes: so the privileges are read back, and corrected.

use super::{RestorePlan, Target};
use crate::Error;
use crate::catalog;
use crate::ddl::settle_privileges;

impl Target {
    /// Corrects what default privileges of the target added to restored objects.
    pub(super) async fn settle_privileges(&self, plan: &RestorePlan) -> Result<(), Error> {
        let Some(wanted) = &plan.privileges else { return Ok(()) };
        let version = self.server().version_num;
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL search_path = ''";
        self.context.session.execute("reading privileges back", begin).await?;
        let here = catalog::read(self.context.session.client(), version, &wanted.filter).await?;
        self.context.session.execute("reading privileges back", "COMMIT").await?;
        for (object, sql) in settle_privileges(wanted, &here, &self.render_options(), version) {
            let object = format!("privileges of {object}");
            self.context.note(&object, self.context.session.execute(&object, &sql).await)?;
        }
        Ok(())
    }
}
