-- The personas most similar to one, down to the floor of the stored edges.
select
    if(edge.persona_a = $id, edge.persona_b, edge.persona_a) as persona_id,
    edge.method,
    edge.similarity,
    other.persona
from persona_edges as edge
join raw_personas as other
    on other.lang = edge.lang and other.persona_id = if(edge.persona_a = $id, edge.persona_b, edge.persona_a)
where $id in (edge.persona_a, edge.persona_b)
order by edge.similarity desc, persona_id
limit 5;
