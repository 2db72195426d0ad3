"""What runs inside Redis: one script that gives a message to every group that wants it, in one step."""

GROUPS, SEEN, DEAD = "cytobus:groups", "cytobus:seen", "cytobus:dead"
"""Group -> its patterns; group -> when a member of it was last alive (s); the stream of dead letters."""


def queue_of(group: str) -> str:
    """The stream in which the messages of a group wait."""
    return f"cytobus:queue:{group}"


PUBLISH = """
-- KEYS: groups, seen.  ARGV: topic, payload, key, channel, depth, abandoned after (s).
-- Answers the name of a group that is full, then nothing was queued; else false.
local function levels(text)
  local found = {}
  for level in string.gmatch(text .. '/', '(.-)/') do found[#found + 1] = level end
  return found
end

local given = levels(ARGV[1])
local function wants(pattern)
  if pattern == ARGV[1] then return true end
  local wanted = levels(pattern)
  for place, word in ipairs(wanted) do
    if word == '#' then return true end
    if given[place] == nil or (word ~= '+' and word ~= given[place]) then return false end
  end
  return #wanted == #given
end

local groups, queues = redis.call('HGETALL', KEYS[1]), {}
for place = 1, #groups, 2 do
  for pattern in string.gmatch(groups[place + 1], '[^\\n]+') do
    if wants(pattern) then
      local group = groups[place]
      local queue = 'cytobus:queue:' .. group
      if redis.call('XLEN', queue) < tonumber(ARGV[5]) then
        queues[#queues + 1] = queue
      else
        local seen = tonumber(redis.call('HGET', KEYS[2], group) or '0')
        if tonumber(redis.call('TIME')[1]) - seen < tonumber(ARGV[6]) then return group end
        -- Nobody has read it for long: whoever returns looks for work by himself.
        redis.call('DEL', queue)
        redis.call('HDEL', KEYS[1], group)
        redis.call('HDEL', KEYS[2], group)
      end
      break
    end
  end
end
for _, queue in ipairs(queues) do
  redis.call('XADD', queue, '*', 'topic', ARGV[1], 'key', ARGV[3], 'payload', ARGV[2])
end
redis.call('PUBLISH', ARGV[4], ARGV[2])
return false
"""
