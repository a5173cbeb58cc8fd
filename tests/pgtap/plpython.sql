-- The language that evaluates.
BEGIN;

SELECT plan(2);

SELECT has_language('plpython3u'::name);
-- USAGE of an untrusted language is nothing: creating a function takes a superuser.
SELECT ok(NOT lanpltrusted, 'Only superusers create functions in PL/Python')
FROM pg_catalog.pg_language
WHERE lanname = 'plpython3u';

SELECT * FROM finish();
ROLLBACK;
