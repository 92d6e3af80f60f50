-- What the list of cases shows of a job's result: its score in percent, and the risks of its warnings. Warnings that are
-- only information carry no risk. The functions are immutable, so that lists and indexes may use them.
CREATE FUNCTION case_score(result jsonb) RETURNS double precision IMMUTABLE LANGUAGE sql AS $$
    SELECT round((result#>>'{comparison,similarity}')::numeric * 100, 2)::double precision
$$;
CREATE FUNCTION case_risks(result jsonb) RETURNS text[] IMMUTABLE LANGUAGE sql AS $$
    SELECT ARRAY(SELECT warning->>'risk' FROM jsonb_array_elements(result->'warnings') WITH ORDINALITY AS it (warning, at)
                 WHERE warning->>'log_type' <> 'information' GROUP BY 1 ORDER BY min(at))
$$;
