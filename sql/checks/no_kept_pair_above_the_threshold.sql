-- No two kept personas are as similar as a pair of which one was dropped by the same method.
select edge.method, edge.persona_a, edge.persona_b, edge.similarity
from persona_edges as edge
join deduped_personas as a on a.lang = edge.lang and a.persona_id = edge.persona_a
join deduped_personas as b on b.lang = edge.lang and b.persona_id = edge.persona_b
where edge.lang = $lang
    and edge.similarity >= (
        select min(threshold)
        from duplicate_personas
        where lang = $lang and method = edge.method
    );
