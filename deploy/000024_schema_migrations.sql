-- Deploy pgrules:000024_schema_migrations to pg
-- requires: 000002_namespaces
--
-- What is deployed, from Sqitch's own registry.

BEGIN;

GRANT USAGE ON SCHEMA :"registry" TO rules_owner;
GRANT SELECT ON :"registry".changes TO rules_owner;

SET LOCAL ROLE rules_owner;

CREATE VIEW rules.schema_migrations AS
SELECT
    split_part(change.change, '_', 1) AS version,
    change.change AS name,
    change.committed_at AS applied_at
FROM :"registry".changes AS change
WHERE change.project = 'pgrules';

COMMENT ON VIEW rules.schema_migrations IS
'The changes that are deployed: version, name, and when each was applied.';
COMMENT ON COLUMN rules.schema_migrations.version IS
'The numeric prefix of the name, for example 000007.';

GRANT SELECT ON rules.schema_migrations TO rules_app, rules_tenant, rules_admin;

COMMIT;
