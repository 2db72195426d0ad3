"""What runs inside Redis: one script that gives messages to every group that wants them, in one step."""

GROUPS, SEEN, DEAD = "cytobus:groups", "cytobus:seen", "cytobus:dead"
"""Group -> its patterns; group -> when a member of it was last alive (s); the stream of dead letters."""


def queue_of(group: str) -> str:
    """The stream in which the messages of a group wait."""
    return f"cytobus:queue:{group}"


PUBLISH = """
-- KEYS: groups, seen.  ARGV: depth, abandoned after (s), then for each message: topic, payload, key, channel.
-- Answers for each message the name of a group that is full, then it was queued nowhere; else an empty text. After
-- them come the names of groups that were closed, if any.
local function levels(text)
  local found = {}
  for level in string.gmatch(text .. '/', '(.-)/') do found[#found + 1] = level end
  return found
end

local function wants(pattern, topic)
  if pattern == topic then return true end
  local wanted, given = levels(pattern), levels(topic)
  for place, word in ipairs(wanted) do
    if word == '#' then return true end
    if given[place] == nil or (word ~= '+' and word ~= given[place]) then return false end
  end
  return #wanted == #given
end

local depth, patience = tonumber(ARGV[1]), tonumber(ARGV[2])
local groups, takers, lengths, closed = {}, {}, {}, {}
local known = redis.call('HGETALL', KEYS[1])
for place = 1, #known, 2 do groups[known[place]] = known[place + 1] end

local function takers_of(topic)
  if takers[topic] then return takers[topic] end
  local found = {}
  for group, patterns in pairs(groups) do
    for pattern in string.gmatch(patterns, '[^\\n]+') do
      if wants(pattern, topic) then found[#found + 1] = group break end
    end
  end
  takers[topic] = found
  return found
end

-- Whether there is room in a group; one that nobody has read for long and that is full is closed: whoever returns
-- looks for work by himself.
local function has_room(group)
  local queue = 'cytobus:queue:' .. group
  if not lengths[group] then lengths[group] = redis.call('XLEN', queue) end
  if lengths[group] < depth then return true end
  local seen = tonumber(redis.call('HGET', KEYS[2], group) or '0')
  if tonumber(redis.call('TIME')[1]) - seen < patience then return false end
  redis.call('DEL', queue)
  redis.call('HDEL', KEYS[1], group)
  redis.call('HDEL', KEYS[2], group)
  groups[group], takers = nil, {}
  closed[#closed + 1] = group
  return true
end

local answers = {}
for place = 3, #ARGV, 4 do
  local topic, payload, full = ARGV[place], ARGV[place + 1], ''
  for _, group in ipairs(takers_of(topic)) do
    if not has_room(group) then full = group break end
  end
  if full == '' then
    for _, group in ipairs(takers_of(topic)) do
      redis.call('XADD', 'cytobus:queue:' .. group, '*', 'topic', topic, 'key', ARGV[place + 2], 'payload', payload)
      lengths[group] = lengths[group] + 1
    end
    redis.call('PUBLISH', ARGV[place + 3], payload)
  end
  answers[#answers + 1] = full
end
for _, group in ipairs(closed) do answers[#answers + 1] = group end
return answers
"""
