//! Privileges of what was made where new objects are not born with the server's own defaults.
//!
//! Statements that grant and revoke are written against what an object has on the day of its birth in a new database.
//! In a target with default privileges (left by a restore before, or its owner's) a table is born with more, which no
//! statement takes away: so what the objects have is read back, and what is too much or too little is set right.

use super::{RestorePlan, Target};
use crate::Error;
use crate::catalog;
use crate::ddl::settle_privileges;

impl Target {
    /// Sets right what default privileges of the target added to what was made.
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
