-- Which version of the model does each station run, as of the last day that it shipped? The digest is the
-- SHA-256 of the version's manifest.json, which names every file of it.
SELECT station, max_by(product, audit_row) AS product, max_by(facts ->> '$.to', audit_row) AS version,
  max_by(facts ->> '$.model_sha256', audit_row) AS digest, max(acted) AS since, max_by(who, audit_row) AS who
FROM audits
WHERE action = 'in_use'
GROUP BY station
ORDER BY station;
